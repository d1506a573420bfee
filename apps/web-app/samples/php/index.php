<?php
// Sample front controller: replace it with your application.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/health') {
    header('Content-Type: text/plain');
    echo "ok\n";
    exit;
}
header('Content-Type: text/html; charset=utf-8');
echo '<!doctype html><title>Sample</title><h1>Sample</h1><p>PHP ', htmlspecialchars(PHP_VERSION), ' answers.</p>';
