#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

#[test]
fn a_good_directory_passes_and_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let cache_directory = directory.path().join("cache");
    let checks = cache(&cache_directory);
    assert_eq!(checks.len(), 2 + TESTS.len());
    assert!(checks.iter().all(|c| c.finding != Finding::Bad), "{checks:?}");
    assert_eq!(std::fs::read_dir(&cache_directory).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_said_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let checks = cache(&directory.path().join("file/cache"));
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0].finding, Finding::Bad);
    assert!(checks[0].found.contains("file/cache"), "{}", checks[0].found);
}
