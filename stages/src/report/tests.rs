#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use engine::kind::StageKind;

use super::*;
use crate::compare::tests::{ENGINE, Engine, served, workload, write_run};
use crate::compare::{Config as Comparison, compare};

/// Runs the kind on two sides and returns the page and the figures by name.
fn reported(predicted: &Side, measured: &[Side], directory: &Path) -> (String, Vec<(String, String)>) {
    let verdict =
        compare(&Comparison { allow_mismatch: true, ..Comparison::default() }, predicted, measured, None, None);
    std::fs::write(directory.join("verdict"), verdict.unwrap().to_json()).unwrap();
    let source = |label: &str, name: &str| Source {
        label: label.to_owned(),
        path: directory.join(name),
        digest: blake3::hash(name.as_bytes()).to_hex().to_string(),
    };
    write_run(predicted, &directory.join("predicted"));
    let mut sources = Vec::new();
    for (at, side) in measured.iter().enumerate() {
        write_run(side, &directory.join(format!("measured-{at}")));
        sources.push(source(&side.label, &format!("measured-{at}")));
    }
    let inputs = [
        ("verdict".to_owned(), vec![source("verdict.verdict", "verdict")]),
        ("predicted".to_owned(), vec![source(&predicted.label, "predicted")]),
        ("measured".to_owned(), sources),
    ];
    let mut io = Io::detached(directory, inputs.into(), &["page", "figures"]);
    Report::run(&Config::default(), &mut io).unwrap();
    let page = std::fs::read_to_string(directory.join("out/page")).unwrap();
    let mut figures: Vec<(String, String)> = std::fs::read_dir(directory.join("out/figures"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    figures.sort();
    (page, figures)
}

fn two_runs(n: u64) -> (Side, Vec<Side>) {
    let asked = workload(n);
    let mut measured = served("real.run", &asked, ENGINE);
    measured.meta.kind = "bench".to_owned();
    measured.meta.backend = "paged".to_owned();
    measured.meta.hardware = Some(crate::tables::run::Hardware {
        device: "cpu".to_owned(),
        name: "Toy CPU @ 1 GHz".to_owned(),
        threads: 2,
        ..Default::default()
    });
    measured.meta.config = serde_json::json!({ "backend": "paged", "scheduler": { "max_sequences": 8 } });
    measured.meta.versions.insert("pipe".to_owned(), "0.1.0".to_owned());
    (served("sim.run", &asked, Engine { step_ns: 5_200_000, ..ENGINE }), vec![measured])
}

/// Every element that is opened is closed in order; what is left is the element at fault. Void elements of HTML aside.
fn unbalanced(text: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let inner = piece.split('>').next()?;
        let name = inner.trim_start_matches('/').split([' ', '/']).next()?;
        let void = inner.ends_with('/') || inner.starts_with('!') || ["meta", "br"].contains(&name);
        if inner.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(format!("</{name}>"));
            }
        } else if !void {
            open.push(name);
        }
    }
    open.pop().map(str::to_owned)
}

#[test]
fn the_page_has_every_section_and_every_figure() {
    let directory = tempfile::tempdir().unwrap();
    let (predicted, measured) = two_runs(120);
    let (page, figures) = reported(&predicted, &measured, directory.path());
    let names: Vec<&str> = figures.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "cdf-e2e.svg",
            "cdf-tbt.svg",
            "cdf-tpot.svg",
            "cdf-ttft.svg",
            "errors.svg",
            "parts.svg",
            "requests-e2e.svg",
            "requests-ttft.svg",
            "timeline-held.svg",
            "timeline-tokens.svg"
        ]
    );
    for (name, svg) in &figures {
        assert_eq!(unbalanced(svg), None, "{name}");
        assert!(svg.starts_with("<svg xmlns=") && svg.contains("<title id=") && svg.contains("<desc id="), "{name}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        let id = format!("id=\"{}-t\"", name.trim_end_matches(".svg"));
        assert_eq!(page.matches(&id).count(), 1, "{name} stands on the page once");
    }
    assert_eq!(unbalanced(&page), None);
    for wanted in ["Toy CPU @ 1 GHz", "version of pipe", "max_batched_tokens", "Kolmogorov-Smirnov", "most wrong"] {
        assert!(page.contains(wanted), "{wanted}");
    }
    let digest = blake3::hash(b"measured-0").to_hex().to_string();
    assert!(page.contains(&digest), "the digest of every input");
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (predicted, measured) = two_runs(40);
    let (page, _) = reported(&predicted, &measured, directory.path());
    for forbidden in ["http:", "https:", "<script", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_same_inputs_give_the_same_page() {
    let (predicted, measured) = two_runs(40);
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(reported(&predicted, &measured, a.path()), reported(&predicted, &measured, b.path()));
}

#[test]
fn what_comes_from_outside_is_escaped() {
    let evil = "<script>alert('1')</script>&\"";
    let (mut predicted, mut measured) = two_runs(20);
    predicted.label = evil.to_owned();
    let meta = &mut measured[0].meta;
    meta.model.name = evil.to_owned();
    meta.model.digest.clear();
    meta.notes = vec![evil.to_owned()];
    meta.config = serde_json::json!({ evil: evil });
    meta.versions.insert(evil.to_owned(), evil.to_owned());
    meta.facts.insert(evil.to_owned(), serde_json::json!([evil]));
    meta.knobs = serde_json::json!({ evil: evil });
    let hardware = meta.hardware.as_mut().unwrap();
    hardware.name = evil.to_owned();
    hardware.details.insert(evil.to_owned(), evil.to_owned());
    let directory = tempfile::tempdir().unwrap();
    let (page, figures) = reported(&predicted, &measured, directory.path());
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert_eq!(unbalanced(&page), None);
    assert!(figures.iter().all(|(_, svg)| !svg.contains("<script") && unbalanced(svg).is_none()));
}

#[test]
fn a_page_of_ten_thousand_requests_stays_small() {
    let asked: Vec<_> =
        (0..10_000_u64).map(|i| (i * 20, 16 + (i * 37 % 400) as u32, 2 + (i * 13 % 12) as u32)).collect();
    let predicted = served("sim.run", &asked, Engine { step_ns: 5_100_000, ..ENGINE });
    let measured = [served("real.run", &asked, ENGINE)];
    let directory = tempfile::tempdir().unwrap();
    let (page, _) = reported(&predicted, &measured, directory.path());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn one_request_of_one_token_still_gives_a_page() {
    let asked = [(0, 1, 1)];
    let (predicted, measured) = (served("sim.run", &asked, ENGINE), [served("real.run", &asked, ENGINE)]);
    let directory = tempfile::tempdir().unwrap();
    let (page, figures) = reported(&predicted, &measured, directory.path());
    assert!(page.contains("too few"));
    assert!(figures.iter().all(|(_, svg)| !svg.contains("NaN") && !svg.contains("inf")));
}

#[test]
fn repeats_are_drawn_each_and_their_range_is_printed() {
    let asked = workload(60);
    let measured: Vec<Side> = [5_000_000, 5_100_000, 5_150_000]
        .into_iter()
        .enumerate()
        .map(|(at, step_ns)| served(&format!("real.run#{at}"), &asked, Engine { step_ns, ..ENGINE }))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let (page, figures) = reported(&served("sim.run", &asked, ENGINE), &measured, directory.path());
    assert!(page.contains("range of repeats") && page.contains("each repeat"));
    let ttft = &figures.iter().find(|f| f.0 == "cdf-ttft.svg").unwrap().1;
    assert_eq!(ttft.matches("class=\"lr\"").count(), 3);
}

#[test]
fn an_input_that_is_no_verdict_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("verdict");
    std::fs::write(&path, "{\"format\": 1}").unwrap();
    let inputs = [("verdict".to_owned(), vec![Source { label: "v".to_owned(), path, digest: String::new() }])];
    let mut io = Io::detached(directory.path(), inputs.into(), &["page", "figures"]);
    let error = Report::run(&Config::default(), &mut io).unwrap_err();
    assert!(error.message.contains("as a verdict") && error.help.unwrap().contains("compare"));
}

/// Runs the kind on repeats of one run, wired to one port.
fn alone(port: &str, sides: &[Side], directory: &Path) -> (String, String, Vec<String>) {
    let sources = sides.iter().enumerate().map(|(at, side)| {
        let path = directory.join(format!("side-{at}"));
        write_run(side, &path);
        Source { label: side.label.clone(), path, digest: blake3::hash(side.label.as_bytes()).to_hex().to_string() }
    });
    let inputs = [(port.to_owned(), sources.collect())];
    let mut io = Io::detached(directory, inputs.into(), &["page", "figures", "summary"]);
    Report::run(&Config::default(), &mut io).unwrap();
    let figures = std::fs::read_dir(directory.join("out/figures")).unwrap();
    let mut names: Vec<String> = figures.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let text = |name: &str| std::fs::read_to_string(directory.join("out").join(name)).unwrap();
    (text("page"), text("summary"), names)
}

#[test]
fn a_simulation_alone_is_shown_with_its_figures_and_no_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let (predicted, _) = two_runs(120);
    let (page, summary, figures) = alone("predicted", std::slice::from_ref(&predicted), directory.path());
    let expected = ["cdf-e2e", "cdf-tbt", "cdf-tpot", "cdf-ttft", "timeline-held", "timeline-tokens"];
    assert_eq!(figures, expected.map(|name| format!("{name}.svg")));
    assert_eq!(unbalanced(&page), None);
    assert!(page.contains("nothing was measured") && page.contains("would serve 120 requests"));
    assert!(!page.contains("NaN") && !page.contains("class=\"lm\""), "no measured curve");
    let longest = predicted.requests.iter().max_by_key(|r| (r.completion.unwrap().0 - r.arrival.0, u32::MAX - r.id));
    let row = format!("<tr><td class=\"n\">{}</td>", longest.unwrap().id);
    assert!(page.contains(&row), "the slowest request has a row");
    let served = align(&predicted, &[], crate::compare::align::Clock::Arrival);
    let p99 = crate::compare::metric::Stat::P99.of(&Metric::E2e.sample(&served.predicted)).unwrap();
    let last = summary.lines().find(|line| line.starts_with("E2E")).unwrap();
    assert!(last.ends_with(&crate::compare::attribution::duration(p99)), "{last}");
}

#[test]
fn repeats_of_a_measurement_alone_show_the_median_and_the_range() {
    let asked = workload(60);
    let sides: Vec<Side> = [5_000_000, 5_100_000, 5_150_000]
        .into_iter()
        .enumerate()
        .map(|(at, step_ns)| served(&format!("real.run#{at}"), &asked, Engine { step_ns, ..ENGINE }))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let (page, summary, _) = alone("measured", &sides, directory.path());
    let gap = |side: &Side| {
        let served = align(side, &[], crate::compare::align::Clock::Arrival);
        let ns = crate::compare::metric::Stat::P50.of(&Metric::Tbt.sample(&served.predicted)).unwrap();
        crate::compare::attribution::duration(ns)
    };
    let [low, middle, high] = [gap(&sides[0]), gap(&sides[1]), gap(&sides[2])];
    assert!(low < middle && middle < high);
    assert!(page.contains(&format!("{middle}<br><span class=\"soft small\">{low} to {high}</span>")));
    let tbt = summary.lines().find(|line| line.starts_with("TBT")).unwrap();
    assert!(tbt.contains(&middle), "{tbt}");
}

#[test]
fn what_a_report_takes_follows_from_what_is_wired() {
    let ports = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let required = |wired: &[&str]| {
        let wired = Wired { inputs: wired.iter().map(|n| (*n).to_owned()).collect(), lists: Vec::new() };
        let contract = Report::contract(&Config::default(), &wired).unwrap();
        let ports: Vec<String> = contract.inputs.iter().filter(|p| !p.optional).map(|p| p.name.to_string()).collect();
        (ports, contract.outputs.len())
    };
    assert_eq!(required(&["predicted"]), (ports(&[]), 3));
    assert_eq!(required(&["measured"]), (ports(&[]), 3));
    assert_eq!(required(&["predicted", "measured"]), (ports(&["verdict", "predicted", "measured"]), 2));
    assert_eq!(required(&["verdict", "predicted"]), (ports(&["verdict", "predicted", "measured"]), 2));
    assert_eq!(required(&[]), (ports(&["verdict", "predicted", "measured"]), 2));
}
