use super::*;

/// Each stage takes what two stages before it make. A step that looks at all stages for each would be felt here.
#[test]
fn ten_thousand_stages_are_loaded_and_wired() {
    let count = 10_000;
    let mut text = String::new();
    for at in 0..count {
        let inputs = match at {
            0 => "x = \"./seed\"".to_owned(),
            _ => format!("x = \"s{}.o\", y = \"s{}.o\"", at / 2, (at * 7919 / 10) % at),
        };
        text.push_str(&format!("[stage.s{at}]\nkind = \"command\"\nin = {{ {inputs} }}\n"));
        text.push_str("config = { argv = [\"cp\", \"{in.x}\", \"{out.o}\"], outputs = { o = \"o.txt\" } }\n");
    }
    let loaded = Folder::new(&text).file("seed", "").load(&[]);
    assert_eq!(loaded.pipeline.stages.len(), count);
    assert_eq!(fed(&loaded, "s9999"), ["x: s4999.o", "y: s8999.o"]);
    assert_eq!(fed(&loaded, "s0"), ["x: ./seed"]);
}
