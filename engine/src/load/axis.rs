//! Axes of sweeps and points on them.
//!
//! An axis is a line of a stage's matrix or the samples of a stage. Two lines over one name with the same values are
//! one axis: what hangs on both is expanded once along it, so that points of equal value meet.

use std::collections::HashMap;

use super::draft::{Draft, is_plain};
use super::reading::Reading;
use crate::error::Mistake;
use crate::source::Span;
use crate::source::tree::{Node, Value};

/// An axis's place in [`Axes`].
pub(super) type AxisId = usize;

/// A point: for each of its axes, in their order, the number of the value.
pub(super) type Coordinates = Vec<(AxisId, usize)>;

/// What is varied along an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Varies {
    /// A path in the configuration of the stage that has the matrix.
    Config,
    /// The choice of a group, for that stage and all that hang on it.
    Group,
    /// Nothing: the points are samples of the stage with this number.
    Sample(usize),
}

/// One axis.
#[derive(Debug)]
pub(super) struct Axis {
    /// A path, a group, or `<stage>.sample`.
    pub(super) name: String,
    pub(super) varies: Varies,
    /// Where it was written.
    pub(super) key: Span,
    /// Empty for samples.
    pub(super) values: Vec<Node>,
    labels: Vec<String>,
}

/// All axes of a pipeline, in the order in which stages have brought them.
#[derive(Debug, Default)]
pub(super) struct Axes {
    all: Vec<Axis>,
    by_name: HashMap<String, Vec<AxisId>>,
}

impl Axes {
    pub(super) fn get(&self, id: AxisId) -> &Axis {
        &self.all[id]
    }

    /// The axes that a stage itself brings.
    pub(super) fn own(&mut self, reading: &mut Reading, at: usize, draft: &Draft) -> Vec<AxisId> {
        let mut own = Vec::new();
        for line in &draft.matrix {
            let uses = |group: &str| draft.uses.iter().any(|(used, _)| used == group);
            let wires = |group: &str| draft.inputs.iter().flat_map(|input| &input.words).any(|(w, _)| names(w, group));
            let varies = if uses(&line.name) || wires(&line.name) { Varies::Group } else { Varies::Config };
            let labels = labels(reading, &line.name, &line.values, &varies);
            let (name, key) = (line.name.clone(), line.key);
            own.push(self.add(Axis { name, varies, key, values: line.values.clone(), labels }));
        }
        if let Some(samples) = draft.policy.repeat.filter(|samples| *samples > 1) {
            let labels = (0..samples).map(|sample| sample.to_string()).collect();
            let (name, key) = (format!("{}.sample", draft.name), draft.key);
            own.push(self.add(Axis { name, varies: Varies::Sample(at), key, values: Vec::new(), labels }));
        }
        own.sort_unstable();
        own
    }

    fn add(&mut self, axis: Axis) -> AxisId {
        let same = |other: &Axis| {
            let values = other.values.iter().map(Node::to_toml).eq(axis.values.iter().map(Node::to_toml));
            other.varies == axis.varies && values
        };
        let ids = self.by_name.entry(axis.name.clone()).or_default();
        if let Some(id) = ids.iter().find(|id| same(&self.all[**id])) {
            return *id;
        }
        let id = self.all.len();
        ids.push(id);
        self.all.push(axis);
        id
    }

    /// Every point of some axes, the last axis running fastest; one point without coordinates where there are none.
    pub(super) fn product(&self, axes: &[AxisId]) -> Vec<Coordinates> {
        let mut points = vec![Vec::with_capacity(axes.len())];
        for id in axes {
            let longer = points.iter().flat_map(|point: &Coordinates| {
                (0..self.all[*id].labels.len()).map(move |at| point.iter().copied().chain([(*id, at)]).collect())
            });
            points = longer.collect();
        }
        points
    }

    /// Two points as one: their coordinates together, `None` where they differ on a common axis.
    ///
    /// # Errors
    /// Two axes of one name that are not the same axis.
    pub(super) fn join(&self, a: &Coordinates, b: &Coordinates) -> Result<Option<Coordinates>, (AxisId, AxisId)> {
        let mut joined = a.clone();
        for (id, at) in b {
            match a.iter().find(|(mine, _)| mine == id) {
                Some((_, mine)) if mine == at => {}
                Some(_) => return Ok(None),
                None => {
                    let name = &self.all[*id].name;
                    if let Some((other, _)) = a.iter().find(|(mine, _)| self.all[*mine].name == *name) {
                        return Err((*other, *id));
                    }
                    joined.push((*id, *at));
                }
            }
        }
        joined.sort_unstable();
        Ok(Some(joined))
    }

    /// What stands behind a stage's name: `[rate=8,sample=0]`. Of an axis the last step of its name is enough where
    /// no other axis of the point has the same.
    pub(super) fn suffix(&self, point: &Coordinates) -> String {
        let short = |id: AxisId| {
            let name = &self.all[id].name;
            name.rsplit('.').next().unwrap_or(name)
        };
        let coordinate = |(id, at): &(AxisId, usize)| {
            let alone = point.iter().filter(|(other, _)| short(*other) == short(*id)).count() == 1;
            let axis = &self.all[*id];
            format!("{}={}", if alone { short(*id) } else { &axis.name }, axis.labels[*at])
        };
        let all: Vec<String> = point.iter().map(coordinate).collect();
        if all.is_empty() { String::new() } else { format!("[{}]", all.join(",")) }
    }
}

/// Whether a word of an `in` table names this group.
fn names(word: &str, group: &str) -> bool {
    word.strip_prefix('@').is_some_and(|rest| rest.split('.').next() == Some(group))
}

/// What the values are called in the names of stages: scalars as they are written, as far as they can stand in a
/// file's name; else, and where two would be called the same, by their number.
fn labels(reading: &mut Reading, name: &str, values: &[Node], varies: &Varies) -> Vec<String> {
    let mut firsts: HashMap<String, Span> = HashMap::new();
    for value in values {
        if *varies == Varies::Group && value.as_str().is_none() {
            reading.wrong_sort(name, value, "names of choices");
        }
        if let Some(first) = firsts.insert(value.to_toml().to_string(), value.span) {
            let message = format!("the matrix has a value of `{name}` twice");
            reading.note(Mistake::new("bad-value", message).at(value.span, "again here").at(first, "first here"));
        }
    }
    let labels: Option<Vec<String>> = values.iter().map(label).collect();
    let distinct = |labels: &Vec<String>| labels.iter().collect::<std::collections::HashSet<_>>().len() == labels.len();
    labels.filter(distinct).unwrap_or_else(|| (0..values.len()).map(|at| format!("{at}")).collect())
}

fn label(value: &Node) -> Option<String> {
    let text = match &value.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) | Value::Table(_) => return None,
    };
    let text: String = text.chars().map(|c| if is_plain(&format!("x{c}")) { c } else { '-' }).collect();
    (!text.is_empty() && text.len() <= 64).then_some(text)
}
