#![expect(clippy::unwrap_used, reason = "a test")]

use crate::event::State;
use crate::testing::{From, Project, word};

#[test]
fn a_second_run_starts_nothing() {
    let project = Project::new();
    project.write("data/a", "hello");
    let mut sketch = project.sketch();
    sketch.toy("first", word("one"), &[From::File("data/a")]);
    sketch.toy("second", word("two"), &[From::Stage("first")]);
    let run = project.run(&sketch);
    assert_eq!(run.started(), ["first", "second"]);
    assert_eq!(run.finished.exit, 0);
    assert_eq!(project.result("second"), "two0(one0(hello))");
    let again = project.run(&sketch);
    assert_eq!(again.started(), [""; 0]);
    assert_eq!(again.all(State::Hit), ["first", "second"]);
}
