//! Random pipelines, edits and failures: the engine against an evaluator that caches nothing, and it ran nothing that it
//! need not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::event::State;
use crate::testing::{Behaviour, From, Project, Size, Sketch, Toy, says};

const FILES: usize = 3;

/// A stage of a random pipeline; it takes from earlier ones and from files.
#[derive(Debug, Clone)]
struct Spec {
    word: u8,
    keep: Option<usize>,
    fails: bool,
    size: u8,
    files: Vec<usize>,
    stages: Vec<prop::sample::Index>,
}

/// A change to the world between two runs.
#[derive(Debug, Clone)]
enum Edit {
    File(usize, u8),
    Word(prop::sample::Index, u8),
    Fails(prop::sample::Index, bool),
    LoseResults,
    LoseMemory,
}

fn spec() -> impl Strategy<Value = Spec> {
    let keep = prop::option::weighted(0.3, 0usize..4);
    let files = prop::collection::vec(0..FILES, 0..2);
    let stages = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (0u8..3, keep, prop::bool::weighted(0.1), 0u8..3, files, stages)
        .prop_map(|(word, keep, fails, size, files, stages)| Spec { word, keep, fails, size, files, stages })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..FILES, 0u8..3).prop_map(|(file, text)| Edit::File(file, text)),
        3 => (any::<prop::sample::Index>(), 0u8..3).prop_map(|(stage, word)| Edit::Word(stage, word)),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(stage, fails)| Edit::Fails(stage, fails)),
        1 => Just(Edit::LoseResults),
        1 => Just(Edit::LoseMemory),
    ]
}

struct World {
    project: Project,
    specs: Vec<Spec>,
    files: Vec<u8>,
}

impl World {
    fn toy(spec: &Spec) -> Toy {
        Toy {
            word: format!("w{}", spec.word),
            keep: spec.keep,
            behave: if spec.fails { Behaviour::Fail } else { Behaviour::Good },
            size: [Size::Small, Size::Large, Size::Tree][usize::from(spec.size)],
            ..Toy::default()
        }
    }

    /// The producers of stage `at`, each once.
    fn producers(&self, at: usize) -> Vec<usize> {
        if at == 0 {
            return Vec::new();
        }
        let all: BTreeSet<usize> = self.specs[at].stages.iter().map(|index| index.index(at)).collect();
        all.into_iter().collect()
    }

    fn text(&self, file: usize) -> String {
        format!("text{}", self.files[file])
    }

    fn sketch(&self) -> Sketch {
        let mut sketch = self.project.sketch();
        for (file, _) in self.files.iter().enumerate() {
            self.project.write(&format!("f{file}"), &self.text(file));
        }
        for (at, spec) in self.specs.iter().enumerate() {
            let files: Vec<String> = spec.files.iter().map(|file| format!("f{file}")).collect();
            let stages: Vec<String> = self.producers(at).iter().map(|stage| format!("s{stage}")).collect();
            let from: Vec<From<'_>> =
                files.iter().map(|f| From::File(f)).chain(stages.iter().map(|s| From::Stage(s))).collect();
            sketch.toy(&format!("s{at}"), World::toy(spec), &from);
        }
        sketch
    }

    /// What every stage says if nothing is ever cached; `None` = it fails, or something it hangs on does. Beside it what
    /// tells one piece of work from another.
    fn naive(&self) -> Vec<Option<(String, String)>> {
        let mut all: Vec<Option<(String, String)>> = Vec::new();
        for (at, spec) in self.specs.iter().enumerate() {
            let files = spec.files.iter().map(|file| Some(self.text(*file)));
            let shape = |stage: usize| self.specs[stage].size;
            let stages = self.producers(at).into_iter();
            let from = stages.map(|s| all[s].as_ref().map(|(said, _)| (said.clone(), shape(s)))).collect::<Vec<_>>();
            let given: Option<Vec<String>> =
                files.chain(from.iter().map(|f| f.as_ref().map(|(said, _)| said.clone()))).collect();
            let toy = World::toy(spec);
            all.push(given.filter(|_| !spec.fails).map(|given| {
                // A tree and a file that say the same are two different contents.
                let trees: Vec<bool> = from.iter().flatten().map(|(_, size)| *size == 2).collect();
                (says(&toy, &given), format!("{toy:?} {given:?} {trees:?}"))
            }));
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_edited_the_engine_says_what_an_evaluator_without_a_cache_says(
        specs in prop::collection::vec(spec(), 1..9),
        edits in prop::collection::vec(edit(), 0..5),
    ) {
        let mut world = World { project: Project::new(), specs, files: vec![0; FILES] };
        let mut done: BTreeSet<String> = BTreeSet::new();
        for edit in std::iter::once(None).chain(edits.into_iter().map(Some)) {
            let stages = world.specs.len();
            match edit {
                Some(Edit::File(file, text)) => world.files[file] = text,
                Some(Edit::Word(stage, word)) => world.specs[stage.index(stages)].word = word,
                Some(Edit::Fails(stage, fails)) => world.specs[stage.index(stages)].fails = fails,
                Some(Edit::LoseResults) => std::fs::remove_dir_all(world.project.root.join("results")).unwrap_or(()),
                Some(Edit::LoseMemory) => std::fs::remove_dir_all(world.project.root.join(".pipe")).unwrap(),
                None => {}
            }
            let seen = world.project.run(&world.sketch());
            let naive = world.naive();
            let good: BTreeSet<&str> = seen.all(State::Hit).into_iter().chain(seen.all(State::Done)).collect();
            let mut needed: BTreeMap<&str, usize> = BTreeMap::new();
            for (at, expected) in naive.iter().enumerate() {
                let name = format!("s{at}");
                prop_assert_eq!(good.contains(name.as_str()), expected.is_some(), "{} in {:?}", name, seen);
                if let Some((said, work)) = expected {
                    prop_assert_eq!(&world.project.result(&name), said);
                    if !done.contains(work) {
                        *needed.entry(work).or_default() += 1;
                    }
                }
            }
            // Every piece of work that was not done before is done once, however many stages want it.
            prop_assert_eq!(seen.all(State::Done).len(), needed.len(), "{:?}", seen);
            // What fails is tried, where all that it takes is there; nothing else is started.
            prop_assert_eq!(seen.started().len(), needed.len() + seen.all(State::Failed).len(), "{:?}", seen);
            done.extend(naive.into_iter().flatten().map(|(_, work)| work));
            let damaged = world.project.store().verify(&mut |_, _| {}).unwrap().damaged;
            prop_assert_eq!(damaged, vec![]);
        }
    }
}
