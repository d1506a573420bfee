//! Keys, fingerprints and password hashes: what goes into an answer for access, and what it must look like.

use crate::domain::fingerprint::Fingerprint;
use crate::domain::secret::Secret;

/// Root's password in the forms that the dialects take.
#[derive(Debug, Clone)]
pub enum RootPassword {
    /// A hash that the operator configured. ISO 8.2 cannot take it.
    Configured(Secret<String>),
    /// A random one for this rebuild: nobody knows it, access is by key.
    Generated(GeneratedPassword),
}

/// A random password and its hash.
#[derive(Debug, Clone)]
pub struct GeneratedPassword {
    /// The password itself; only ISO 8.2 gets it, because it has no key for a hash.
    pub plain: Secret<String>,
    /// SHA-512 crypt.
    pub hash: Secret<String>,
}

/// Makes the random root password of one rebuild from bytes that the caller drew from a cryptographic generator.
///
/// The salt is given explicitly: 12 bytes become the 16 characters that libxcrypt keeps; a longer salt would be cut by
/// crypt(3) and the login would fail (sha-crypt 0.6 makes a longer one by default).
///
/// # Errors
/// [`HashFailed`] when the hash library refuses; no input is known to cause it.
pub fn generated_password(
    password: [u8; 24],
    salt: [u8; 12],
) -> Result<GeneratedPassword, HashFailed> {
    let plain: String = password.iter().map(|b| format!("{b:02x}")).collect();
    let hash = sha512_crypt(plain.as_bytes(), salt)?;
    Ok(GeneratedPassword { plain: Secret::new(plain), hash: Secret::new(hash) })
}

/// SHA-512 crypt of a password with default rounds, as crypt(3) prints it.
///
/// # Errors
/// [`HashFailed`] when the hash library refuses.
pub fn sha512_crypt(password: &[u8], salt: [u8; 12]) -> Result<String, HashFailed> {
    use sha_crypt::PasswordHasher as _;
    sha_crypt::ShaCrypt::default()
        .hash_password_with_salt(password, &salt)
        .map(|hash| hash.as_str().to_owned())
        .map_err(|_| HashFailed)
}

/// The password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password hash library refused its input")]
pub struct HashFailed;

/// Checks a crypt(3) string as `chpasswd --encrypted` takes it. The installer does not check it (9.2): a wrong one
/// installs a node that nobody can log in to.
///
/// # Errors
/// Which rule it breaks and what is allowed; never the string.
pub fn check_crypt(hash: &str) -> Result<(), &'static str> {
    if hash.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b':' | b'!' | b'*')) {
        return Err(
            "a crypt(3) hash has no blanks, ':', '!' or '*'; 'mkpasswd -m sha-512' makes one",
        );
    }
    let mut parts = hash.split('$');
    let (Some(""), Some(id)) = (parts.next(), parts.next()) else {
        return Err(
            "a crypt(3) hash beginning with '$' is expected, not a password; 'mkpasswd -m sha-512' makes one",
        );
    };
    let rest: Vec<&str> = parts.collect();
    let digest = rest.last().copied().unwrap_or_default();
    let salt_ok = |salt: &str| (1..=16).contains(&salt.len());
    match (id, rest.as_slice()) {
        ("6", [salt, _] | [_, salt, _]) if digest.len() == 86 && salt_ok(salt) => Ok(()),
        ("5", [salt, _] | [_, salt, _]) if digest.len() == 43 && salt_ok(salt) => Ok(()),
        ("6" | "5", _) => Err(
            "this sha-crypt hash is incomplete: $6$ + salt of 1 to 16 characters + $ + 86 characters ($5$: 43)",
        ),
        ("y" | "gy" | "7", [_, _, ..]) if digest.len() >= 43 => Ok(()),
        ("2a" | "2b" | "2y", [_, _]) if digest.len() == 53 => Ok(()),
        _ => Err("this kind of hash is not accepted; allowed: $6$, $5$, $y$, $gy$, $7$, $2b$"),
    }
}

/// Checks one line of `authorized_keys` form without options: `type base64 [comment]`.
///
/// # Errors
/// Which rule it breaks and what is allowed.
pub fn check_public_key(line: &str) -> Result<(), &'static str> {
    if line.len() > MAX_KEY_LINE {
        return Err("longer than 16 KiB");
    }
    if line.chars().any(char::is_control) {
        return Err("one line is expected, without control characters");
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        return Err("'type base64 [comment]' is expected, as in a .pub file");
    };
    if !KEY_TYPES.contains(&kind) {
        return Err(
            "the key type must be ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa or an sk- type",
        );
    }
    let blob = base64(body).ok_or("the second word is not base64")?;
    // RFC 4253 section 6.6: the blob begins with the length-prefixed type name.
    let length = blob.first_chunk::<4>().map(|n| u32::from_be_bytes(*n));
    let named = length.and_then(|n| usize::try_from(n).ok()).and_then(|n| blob.get(4..)?.get(..n));
    if named != Some(kind.as_bytes()) {
        return Err("the base64 part does not belong to this key type; was it cut?");
    }
    // Even the smallest key (Ed25519: 32 bytes) comes after the name and another length.
    if blob.len() < 4 + kind.len() + 4 + 32 {
        return Err("the key is incomplete; was it cut?");
    }
    Ok(())
}

/// RSA 16384 is about 3 KiB; anything beyond this is not a key.
const MAX_KEY_LINE: usize = 16 * 1024;

const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Parses a SHA-256 fingerprint: 64 hex digits in any case, colons between pairs optional.
#[must_use]
pub fn fingerprint(text: &str) -> Option<[u8; 32]> {
    text.parse::<Fingerprint>().ok().map(|fingerprint| fingerprint.0)
}

/// Standard base64 with padding (RFC 4648 section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for b in body.bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod test {
    use super::*;

    /// Debian's perl is essential, so crypt(3) is always there to compare with; its absence fails the test.
    fn system_crypt(password: &str, salt: &str) -> String {
        let output = std::process::Command::new("perl")
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, salt])
            .output()
            .expect("perl runs: it is essential on Debian");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_generated_hash_is_what_crypt_3_makes_of_the_password() {
        for seed in 0..4u8 {
            let made = generated_password([seed; 24], [seed.wrapping_mul(37); 12]).unwrap();
            let (plain, hash) = (made.plain.expose(), made.hash.expose());
            assert_eq!(&system_crypt(plain, hash), hash);
            assert_eq!(check_crypt(hash), Ok(()));
            assert_eq!(plain.len(), 48);
        }
    }

    #[test]
    fn two_rebuilds_have_different_passwords_and_salts() {
        let one = generated_password([1; 24], [1; 12]).unwrap();
        let other = generated_password([1; 24], [2; 12]).unwrap();
        assert_ne!(one.hash.expose(), other.hash.expose());
        assert!(!format!("{one:?}").contains(one.plain.expose()));
    }

    #[test]
    fn passwords_and_cut_hashes_are_not_taken_for_hashes() {
        let good = sha512_crypt(b"x", [9; 12]).unwrap();
        assert_eq!(check_crypt(&good), Ok(()));
        let (_, salted) = good.rsplit_once("rounds=5000$").unwrap_or(("", &good[3..]));
        assert_eq!(check_crypt(&format!("$6${salted}")), Ok(()));
        assert_eq!(check_crypt(&format!("$6$rounds=10000${salted}")), Ok(()));
        let yescrypt = format!("$y$j9T$abcdefgh${}", "a".repeat(43));
        assert_eq!(check_crypt(&yescrypt), Ok(()));
        for bad in ["", "hunter2", "$6$", "$6$salt$short", "!", "*", "$1$a$b", "a:b", "$6$sal t$x"]
        {
            assert!(check_crypt(bad).is_err(), "{bad}");
        }
        assert!(check_crypt(&good[..good.len() - 1]).is_err());
    }

    #[test]
    fn public_keys_are_looked_into() {
        let good =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops";
        assert_eq!(check_public_key(good), Ok(()));
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-dss AAAAB3NzaC1kc3MAAACB",
            "from=\"1.2.3.4\" ssh-ed25519 AAAA",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkK",
            "ssh-ed25519 \u{1}",
        ] {
            assert!(check_public_key(bad).is_err(), "{bad}");
        }
        assert!(check_public_key(&format!("{good}\nssh-ed25519 AAAA")).is_err());
    }

    #[test]
    fn fingerprints_have_64_digits_in_any_common_spelling() {
        let plain = "ab".repeat(32);
        assert_eq!(fingerprint(&plain), Some([0xab; 32]));
        assert_eq!(fingerprint(&["AB"; 32].join(":")), Some([0xab; 32]));
        for bad in
            ["", "ab", &format!("sha256:{plain}"), &plain.replace("ab", "zz"), &"a:b".repeat(32)]
        {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
    }
}
