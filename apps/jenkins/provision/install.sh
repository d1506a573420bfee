#!/bin/bash
# Installs Jenkins and sets up its administrator before it can be reached without one.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=2.568.3
home=/var/lib/jenkins

apt_repository jenkins https://pkg.jenkins.io/debian-stable/jenkins.io-2026.key \
    5E386EADB55F01504CAE8BCF7198F4B714ABFC68 "https://pkg.jenkins.io/debian-stable binary/" jenkins
apt_install openjdk-21-jre-headless fontconfig git
# Not started by its package: the first start must find the administrator.
systemctl mask --quiet --runtime jenkins
apt_install "jenkins=$version"
systemctl unmask --quiet --runtime jenkins

say "Setting up Jenkins"
install -d -o jenkins -g jenkins -m 755 "$home"
write_file /etc/systemd/system/jenkins.service.d/ironhatch.conf 644 <<UNIT
[Service]
Environment="JAVA_OPTS=-Djava.awt.headless=true -Djenkins.install.runSetupWizard=false -Xmx${INPUT_HEAP_MB}m"
UNIT
if [ ! -d "$home/users" ]; then
    # Runs once inside Jenkins and removes itself with the password.
    {
        printf '%s\n' "$INPUT_ADMIN"
        input password
    } | write_file "$home/.first-admin" 600 jenkins:jenkins
    write_file "$home/init.groovy.d/first-admin.groovy" 600 jenkins:jenkins <<'GROOVY'
import hudson.security.FullControlOnceLoggedInAuthorizationStrategy
import hudson.security.HudsonPrivateSecurityRealm
import jenkins.model.Jenkins

def file = new File(Jenkins.get().rootDir, '.first-admin')
if (file.exists()) {
    def (name, password) = file.getText('UTF-8').split('\n', 2)
    def jenkins = Jenkins.get()
    def realm = new HudsonPrivateSecurityRealm(false)
    realm.createAccount(name, password)
    jenkins.securityRealm = realm
    def strategy = new FullControlOnceLoggedInAuthorizationStrategy()
    strategy.allowAnonymousRead = false
    jenkins.authorizationStrategy = strategy
    jenkins.numExecutors = 2
    jenkins.save()
    file.delete()
}
GROOVY
fi
if [ -n "$DOMAIN" ] && [ ! -e "$home/jenkins.model.JenkinsLocationConfiguration.xml" ]; then
    write_file "$home/jenkins.model.JenkinsLocationConfiguration.xml" 644 jenkins:jenkins <<XML
<?xml version='1.1' encoding='UTF-8'?>
<jenkins.model.JenkinsLocationConfiguration>
  <jenkinsUrl>https://$DOMAIN/</jenkinsUrl>
</jenkins.model.JenkinsLocationConfiguration>
XML
fi
enable_unit jenkins
say "Waiting until Jenkins has taken over its administrator"
wait_for 240 test ! -e "$home/.first-admin" || fail "Jenkins does not start; see journalctl -u jenkins"
say "Jenkins is ready on port 8080"
