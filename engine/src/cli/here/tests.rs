#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A project with the pipeline `hello`.
fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("pipe.toml"), "").unwrap();
    std::fs::create_dir_all(project.path().join("pipelines/deep")).unwrap();
    std::fs::write(project.path().join("pipelines/hello.toml"), "\n# Says hello. \n# More.\nname = \"x\"").unwrap();
    std::fs::write(project.path().join("pipelines/plain.toml"), "name = \"plain\"").unwrap();
    std::fs::write(project.path().join("pipelines/notes.md"), "# no").unwrap();
    project
}

#[test]
fn the_root_is_the_nearest_folder_that_holds_the_projects_file() {
    let project = project();
    assert_eq!(root(&project.path().join("pipelines/deep")), project.path());
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(root(elsewhere.path()), elsewhere.path());
}

#[test]
fn pipelines_are_listed_with_their_first_comment() {
    let project = project();
    let listed: Vec<(String, String)> = pipelines(project.path()).into_iter().map(|l| (l.name, l.about)).collect();
    assert_eq!(listed, [("hello".to_owned(), "Says hello.".to_owned()), ("plain".to_owned(), String::new())]);
}

#[test]
fn words_are_told_apart() {
    let project = project();
    let sorted = sort(&words("hello sim seed=7 sim.rate=8.0 sim[rate=8] sim.name=[1] sim[rate=8].x=9"), project.path());
    assert_eq!(sorted.file.unwrap(), project.path().join("pipelines/hello.toml"));
    assert_eq!(sorted.stages, ["sim", "sim[rate=8]"]);
    assert_eq!(sorted.overrides, ["seed=7", "sim.rate=8.0", "sim.name=[1]", "sim[rate=8].x=9"]);
}

#[test]
fn a_file_is_a_pipeline_only_as_the_first_word() {
    let project = project();
    let sorted = sort(&words("a/b.toml hello"), project.path());
    assert_eq!(sorted.file.unwrap(), PathBuf::from("a/b.toml"));
    assert_eq!(sorted.stages, ["hello"]);
    assert_eq!(sort(&words("sim"), project.path()).file, None);
}
