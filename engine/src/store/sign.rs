//! Who answers for a record: an ed25519 signature of its digest, in a line behind it.
//!
//! A person has one key, in a file that only they can read; a project lists the public keys that it trusts. It does not
//! know records but by their digest, nor where they come from.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::Deserialize;

use crate::digest::Digest;

/// Separates these signatures from all others that a key may make.
const CONTEXT: &[u8] = b"pipe 2026 record signature v1\n";
/// Begins a public key, and a signature's line.
const SCHEME: &str = "ed25519";
/// Begins the file of a secret key.
const SECRET: &str = "pipe-secret-ed25519";

/// A public key: `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicKey, String> {
        // What follows a blank is for people: whose key it is.
        let word = text.split_whitespace().next().unwrap_or_default();
        let wrong = || format!("`{text}` is no public key; `pipe key show` prints yours: `{SCHEME}:` and 64 digits");
        let digits = word.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(':')).ok_or_else(wrong)?;
        let bytes: [u8; 32] = unhex(digits).ok_or_else(wrong)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| wrong())?;
        Ok(PublicKey(bytes))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret key. It is printed nowhere but into its file.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret key of {}", self.public())
    }
}

impl SecretKey {
    /// Where this user's key lies: `PIPE_KEY`, else `pipe/key` among their settings. `None` where they have no home.
    pub fn usual() -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let settings = || variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
        variable("PIPE_KEY").or_else(|| settings().map(|settings| settings.join("pipe/key")))
    }

    /// Makes a key and writes it at `path`, where nothing may be yet.
    ///
    /// # Errors
    /// When there is something, or it cannot be written, in words.
    pub fn make(path: &Path) -> Result<SecretKey, String> {
        let mut bytes = [0; 32];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if filled != Ok(bytes.len()) {
            return Err("the system gave no random numbers".to_owned());
        }
        let failed = |e: std::io::Error| format!("cannot write the key `{}`: {e}", path.display());
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = open.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => format!("there is a key at `{}` already", path.display()),
            _ => failed(e),
        })?;
        writeln!(file, "{SECRET} {}", hex(&bytes)).map_err(failed)?;
        Ok(SecretKey(SigningKey::from_bytes(&bytes)))
    }

    /// Whether it cannot even be seen whether there is a key at `path`.
    pub fn is_out_of_sight(path: &Path) -> bool {
        std::fs::metadata(path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    }

    /// Reads the key at `path`; `None` where there is no file.
    ///
    /// # Errors
    /// When others can read it too, or it is no key, in words.
    pub fn read(path: &Path) -> Result<Option<SecretKey>, String> {
        let metadata = match std::fs::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| format!("cannot read the key `{}`: {e}", path.display()))?,
        };
        if metadata.mode() & 0o077 != 0 {
            return Err(format!("the key `{0}` can be read by others; `chmod 600 {0}`", path.display()));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read the key `{}`: {e}", path.display()))?;
        let bytes = text.trim().strip_prefix(SECRET).and_then(|digits| unhex::<32>(digits.trim()));
        let bytes = bytes.ok_or_else(|| format!("`{}` holds no key", path.display()))?;
        Ok(Some(SecretKey(SigningKey::from_bytes(&bytes))))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The line that says we answer for what has this digest.
    pub(super) fn sign(&self, of: Digest) -> String {
        format!("{} {}\n", self.public(), hex(&self.0.sign(&message(of)).to_bytes()))
    }
}

/// Who signed what has this digest with this line.
///
/// # Errors
/// When it is no signature, or one of something else.
pub(super) fn signer(line: &str, of: Digest) -> Result<PublicKey, String> {
    let wrong = || "its signature is no signature".to_owned();
    let (key, digits) = line.trim_end().split_once(' ').ok_or_else(wrong)?;
    let key: PublicKey = key.parse().map_err(|_| wrong())?;
    let signature = Signature::from_bytes(&unhex::<64>(digits).ok_or_else(wrong)?);
    let verifying = VerifyingKey::from_bytes(&key.0).map_err(|_| wrong())?;
    match verifying.verify_strict(&message(of), &signature) {
        Ok(()) => Ok(key),
        Err(_) => Err(format!("its signature by {key} is of something else")),
    }
}

fn message(of: Digest) -> Vec<u8> {
    [CONTEXT, &of.0].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
