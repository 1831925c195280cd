#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex};

use indicatif::{ProgressDrawTarget, TermLike};

use super::fancy::{Clocks, Fancy};
use super::json::Json;
use super::paint::Paint;
use super::plain::Plain;
use super::stories::{Paper, Story, eventful, long, tell};
use super::summary::{Detail, Summary};
use super::trace::Trace;
use super::*;
use crate::event::Event;

#[test]
fn durations_read_in_a_persons_units() {
    let read: Vec<String> = [
        0,
        640_000,
        1_000_000,
        412_000_000,
        999_499_999,
        999_500_000,
        1_234_000_000,
        9_999_000_000,
        12_340_000_000,
        59_960_000_000,
        245_000_000_000,
        11_520_000_000_000,
    ]
    .map(duration)
    .into();
    assert_eq!(
        read,
        [
            "0 µs",
            "640 µs",
            "1 ms",
            "412 ms",
            "999 ms",
            "1.00 s",
            "1.23 s",
            "10.0 s",
            "12.3 s",
            "1 min 00 s",
            "4 min 05 s",
            "3 h 12 min"
        ]
    );
}

#[test]
fn sizes_and_counts_read_in_a_persons_units() {
    assert_eq!(
        [0, 1023, 1024, 1536, 1_048_575, 5 << 30].map(bytes),
        ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB"]
    );
    assert_eq!([0, 999, 1000, 10_000, 1_234_567].map(count), ["0", "999", "1,000", "10,000", "1,234,567"]);
    assert_eq!(counted(1, "hit"), "1 hit");
    assert_eq!(counted(0, "hit"), "0 hits");
}

fn plain(story: &[(u64, Event)]) -> String {
    let paper = Paper::default();
    tell(story, &mut Plain::new(paper.clone(), Paint::Bare));
    paper.text()
}

#[test]
fn a_log_has_a_line_for_each_stage() {
    insta::assert_snapshot!(plain(&eventful()), @"
    demo  6 stages, run 20261125T080000-1a2b
    hit      workload  toy  saved 1.24 s, from 20261124T090000-aa11 on otto
    running  profile: 90/100 operations, 12.0 s
    done     profile   toy  12.3 s · first run
    done     sim       toy  390 ms · config scheduler.max_batch: 512 → 256
    warning  real: the clock was not locked
    failed   real      toy  3.09 s · exit status 3
    skipped  verdict   toy  `real` failed
    skipped  page      toy  `real` failed
    ");
}

#[test]
fn a_log_of_ten_thousand_stages_tells_counts_now_and_then() {
    insta::assert_snapshot!(plain(&long(10_000 + 25_000, 10_000)), @"
    long  35,000 stages, run 20261125T080000-1a2b
    19,999 of 35,000: 10,000 hits, 9,999 done, 0 running
    29,999 of 35,000: 10,000 hits, 19,999 done, 0 running
    ");
}

#[test]
fn a_stage_that_holds_up_the_whole_run_says_for_what_it_waits() {
    let mut story = Story::start("demo", &["real"]);
    story.put(Event::StageBlocked { stage: "real".into(), on: "GPU-1 held by otto (pid 7)".into() });
    assert!(plain(&story.events).contains("waiting  real: GPU-1 held by otto (pid 7)"));
}

#[test]
fn colour_is_only_where_it_was_asked_for() {
    let (bare, coloured) = (Paper::default(), Paper::default());
    tell(&eventful(), &mut Plain::new(bare.clone(), Paint::Bare));
    tell(&eventful(), &mut Plain::new(coloured.clone(), Paint::Colour));
    assert!(!bare.text().contains('\u{1b}'));
    assert!(coloured.text().contains("\u{1b}[32mdone"));
}

fn summary(story: &[(u64, Event)], detail: Detail) -> (String, String) {
    let (out, err) = (Paper::default(), Paper::default());
    tell(story, &mut Summary::new(out.clone(), Paint::Bare, err.clone(), Paint::Bare, detail));
    (out.text(), err.text())
}

#[test]
fn results_go_to_stdout_and_failures_to_stderr() {
    let (out, err) = summary(&eventful(), Detail::Full);
    insta::assert_snapshot!(out, @"
    p50  12.0 ms
    p99  31.4 ms

    results/demo/sim/run
    ");
    insta::assert_snapshot!(err.trim_start(), @"
    failed real: exit status 3
      help: read the log
      │ loading
      │ out of paper
      log: cache/attempts/real-1/log
    1 hit (saved 1.24 s), 2 done, 1 failed, 2 skipped in 15.5 s
    ");
}

#[test]
fn a_quiet_run_tells_results_and_failures_only() {
    let (out, err) = summary(&eventful(), Detail::Results);
    assert_eq!(out, "p50  12.0 ms\np99  31.4 ms\n\n");
    assert!(err.contains("failed real: exit status 3"), "{err}");
    assert!(!err.contains("hit"), "{err}");
}

#[test]
fn of_many_links_the_last_are_listed_and_the_rest_counted() {
    let mut story = Story::start("demo", &["a"]);
    for i in 0..9 {
        let path = format!("results/demo/a/out{i}");
        story.put(Event::Linked { stage: "a".into(), port: format!("out{i}"), path });
    }
    story.finish();
    let (out, _) = summary(&story.events, Detail::Full);
    assert!(out.starts_with("3 links and before these:\n"), "{out}");
    assert!(out.ends_with("results/demo/a/out8\n"), "{out}");
}

#[test]
fn printed_events_can_be_read_back() {
    let paper = Paper::default();
    let story = eventful();
    tell(&story, &mut Json::new(paper.clone()));
    let text = paper.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), story.len());
    for (line, (ms, event)) in lines.iter().zip(&story) {
        let read: crate::run::journal::Line = serde_json::from_str(line).unwrap();
        assert_eq!((read.at_ns, &read.what), (ms * 1_000_000, event));
    }
}

#[test]
fn a_trace_is_one_json_array_and_no_two_stages_share_a_lane_at_a_time() {
    let paper = Paper::default();
    tell(&eventful(), &mut Trace::new(paper.clone()));
    let events: Vec<serde_json::Value> = serde_json::from_str(&paper.text()).unwrap();
    let spans: Vec<(u64, f64, f64)> = events
        .iter()
        .filter(|e| e["ph"] == "X" && e["cat"] != "wait")
        .map(|e| (e["tid"].as_u64().unwrap(), e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap()))
        .collect();
    assert_eq!(spans.len(), 3, "profile, sim and real ran");
    for (i, a) in spans.iter().enumerate() {
        for b in &spans[..i] {
            let apart = a.0 != b.0 || a.1 >= b.1 + b.2 || b.1 >= a.1 + a.2;
            assert!(apart, "{a:?} and {b:?} overlap");
        }
    }
}

#[test]
fn a_trace_of_a_stopped_run_closes_what_still_ran() {
    let mut story = Story::start("demo", &["a"]);
    story.at(5).run("a", "first run", 0);
    story.at(9).finish();
    let paper = Paper::default();
    tell(&story.events, &mut Trace::new(paper.clone()));
    let events: Vec<serde_json::Value> = serde_json::from_str(&paper.text()).unwrap();
    let span = events.iter().find(|e| e["ph"] == "X").unwrap();
    assert_eq!(span["args"]["end"], "stopped");
    assert_eq!(span["dur"], 4000.0);
}

/// A terminal in memory that does what the bar library asks: rows of letters, wrapped at its width.
#[derive(Debug, Clone)]
struct Screen(Arc<Mutex<Cells>>, u16, u16);

#[derive(Debug, Default)]
struct Cells {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    deepest_climb: usize,
}

impl Screen {
    fn new(width: u16, height: u16) -> Screen {
        Screen(Arc::new(Mutex::new(Cells::default())), width, height)
    }

    fn text(&self) -> String {
        let cells = self.0.lock().unwrap();
        let lines: Vec<String> =
            cells.rows.iter().map(|r| r.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned()
    }
}

impl Cells {
    fn put(&mut self, letter: char, width: usize) {
        if letter == '\n' || self.column == width {
            self.row += 1;
            self.column = 0;
        }
        if letter == '\n' {
            return;
        }
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = letter;
        self.column += 1;
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.1
    }
    fn height(&self) -> u16 {
        self.2
    }
    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        cells.deepest_climb = cells.deepest_climb.max(n);
        cells.row = cells.row.saturating_sub(n);
        Ok(())
    }
    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        self.0.lock().unwrap().row += n;
        Ok(())
    }
    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        self.0.lock().unwrap().column += n;
        Ok(())
    }
    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        cells.column = cells.column.saturating_sub(n);
        Ok(())
    }
    fn write_line(&self, s: &str) -> std::io::Result<()> {
        self.write_str(s)?;
        self.write_str("\n")
    }
    fn write_str(&self, s: &str) -> std::io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        s.chars().for_each(|letter| cells.put(letter, usize::from(self.1)));
        Ok(())
    }
    fn clear_line(&self) -> std::io::Result<()> {
        let mut cells = self.0.lock().unwrap();
        let row = cells.row;
        if let Some(row) = cells.rows.get_mut(row) {
            row.clear();
        }
        cells.column = 0;
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn fancy(screen: &Screen) -> Fancy {
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    Fancy::new(target, screen.2, Paint::Bare, Clocks::Still)
}

#[test]
fn when_bars_are_gone_the_screen_reads_like_the_log() {
    let screen = Screen::new(120, 24);
    tell(&eventful(), &mut fancy(&screen));
    let log: Vec<String> = plain(&eventful()).lines().map(str::to_owned).collect();
    let log: Vec<String> = log.into_iter().filter(|l| !l.starts_with("running")).collect();
    assert_eq!(screen.text(), log.join("\n"));
}

#[test]
fn a_bar_shows_units_and_the_counts_stand_below() {
    let screen = Screen::new(100, 24);
    let mut observer = fancy(&screen);
    let story: Vec<(u64, Event)> = eventful().into_iter().filter(|(ms, _)| *ms <= 9_000).collect();
    tell(&story, &mut observer);
    insta::assert_snapshot!(screen.text(), @"
    demo  6 stages, run 20261125T080000-1a2b
    hit      workload  toy  saved 1.24 s, from 20261124T090000-aa11 on otto
    ⠙ profile  ━━━━━━────────── 0 s 40/100 operations
    ━━╸───────────── 0 s · 1 hit, 0 done, 1 of 6
    ");
}

#[test]
fn ten_thousand_running_stages_leave_no_more_lines_than_the_terminal_has() {
    let names: Vec<String> = (0..10_000).map(|i| format!("stage{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::start("wide", &names);
    for name in &names {
        story.run(name, "first run", 0);
    }
    let screen = Screen::new(80, 24);
    let mut observer = fancy(&screen);
    tell(&story.events, &mut observer);
    let cells = screen.0.lock().unwrap();
    assert!(cells.deepest_climb < 24, "the cursor climbed {} rows", cells.deepest_climb);
    drop(cells);
    let text = screen.text();
    assert!(text.lines().count() < 24, "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn what_is_skipped_because_the_run_was_stopped_is_only_counted() {
    let mut story = Story::start("demo", &["a", "b"]);
    story.put(Event::Stopping { killing: false });
    story.skip("a", "the run was stopped");
    story.skip("b", "the run was stopped");
    let told = plain(&story.events);
    assert!(told.contains("stopping:") && !told.contains("skipped"), "{told}");
}
