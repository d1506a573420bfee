//! A wall clock that a test can step while the daemon runs.

/// The environment variable that names the file with the clock's error.
pub const FILE: &str = "IRONHATCH_FAKE_CLOCK";

/// How many milliseconds the clock is ahead (negative: behind). The file is read at each look; without it the clock is right.
#[must_use]
pub fn error_ms() -> i64 {
    let Some(file) = std::env::var_os(FILE) else { return 0 };
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
