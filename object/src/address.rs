//! Addresses of tiers, and the credentials that belong to them: from the environment, else from the file that all of
//! Amazon's clients read. They are handed to the client and never kept, shown or written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::store::tier::{Tier, TierError};
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;

use super::Objects;

/// How long the client tries one call.
const PATIENCE: Duration = Duration::from_secs(15);

/// `s3://bucket/prefix`.
pub(super) fn s3(address: &str) -> Result<Arc<dyn Tier>, TierError> {
    let rest = address.strip_prefix("s3://").unwrap_or(address);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', '?', ':']) {
        return Err("write `s3://bucket/prefix`; credentials come from the environment".to_owned());
    }
    // A second call finds it in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none()
        && let Some(Credentials { id, secret, session }) = credentials()
    {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        if let Some(session) = session {
            builder = builder.with_token(session);
        }
    }
    let store = builder.build().map_err(|e| super::told(&e))?;
    let name = format!("`s3://{bucket}/{prefix}`");
    Ok(Arc::new(Objects::new(Arc::new(store), prefix, name)?))
}

/// `file:///directory`.
pub(super) fn file(address: &str) -> Result<Arc<dyn Tier>, TierError> {
    let path = address.strip_prefix("file://").unwrap_or(address);
    if !path.starts_with('/') {
        return Err("write `file:///directory`; for a directory laid out as a cache, write its path alone".to_owned());
    }
    std::fs::create_dir_all(path).map_err(|e| format!("`{path}`: {e}"))?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|e| super::told(&e))?;
    Ok(Arc::new(Objects::new(Arc::new(store), "", format!("`file://{path}`"))?))
}

/// What one may sign with.
struct Credentials {
    id: String,
    secret: String,
    session: Option<String>,
}

/// Those of the profile `AWS_PROFILE` (or `default`) in `AWS_SHARED_CREDENTIALS_FILE` (or `~/.aws/credentials`).
fn credentials() -> Option<Credentials> {
    let path = match std::env::var_os("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".aws/credentials"),
    };
    let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
    read(&std::fs::read_to_string(path).ok()?, &profile)
}

fn read(text: &str, profile: &str) -> Option<Credentials> {
    let heading = format!("[{profile}]");
    let lines = text.lines().map(str::trim).skip_while(|line| *line != heading).skip(1);
    let lines: Vec<(&str, &str)> = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let value = |wanted: &str| lines.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    Some(Credentials {
        id: value("aws_access_key_id")?,
        secret: value("aws_secret_access_key")?,
        session: value("aws_session_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_that_is_asked_for_is_read_and_no_other() {
        let text = "[other]\naws_access_key_id = A\n[default]\naws_access_key_id=B\naws_secret_access_key = s=t\n";
        let found = read(text, "default").expect("it is there");
        assert_eq!((found.id.as_str(), found.secret.as_str(), found.session), ("B", "s=t", None));
        assert!(read(text, "other").is_none(), "a key without its secret is none");
        assert!(read(text, "third").is_none());
    }

    #[test]
    fn an_address_that_holds_credentials_is_refused_without_showing_them() {
        let Err(error) = s3("s3://AKIA:secret@bucket/prefix") else { panic!("it holds credentials") };
        assert!(!error.contains("secret") && !error.contains("AKIA"), "{error}");
    }
}
