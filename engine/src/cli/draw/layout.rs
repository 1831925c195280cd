//! Places for the boxes of a directed acyclic graph, in columns from left to right.
//!
//! The method of Sugiyama, Tagawa and Toda (1981) in four steps: a column for each node (longest path from a source),
//! stand-ins where an arrow crosses a column, an order within each column by the mean place of neighbours, and heights
//! that pull neighbours level while boxes keep apart. It does not know what the boxes show.
//!
//! Invariant: two boxes never overlap; an arrow always leads to the right.

/// A box to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Where a box's centre lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A finished layout.
#[derive(Debug)]
pub(super) struct Layout {
    /// Centre of each box.
    pub(super) nodes: Vec<Point>,
    /// For each arrow the points it passes between its boxes, from left to right.
    pub(super) bends: Vec<Vec<Point>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

const COLUMN_GAP: f64 = 96.0;
const ROW_GAP: f64 = 18.0;
const MARGIN: f64 = 20.0;
const SWEEPS: usize = 12;

/// Boxes and stand-ins, column by column.
struct Grid {
    /// Column of each item.
    column: Vec<usize>,
    height: Vec<f64>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
    columns: Vec<Vec<usize>>,
    y: Vec<f64>,
}

/// Lays out boxes of the given sizes joined by `edges` (indices of boxes, acyclic).
pub(super) fn layout(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
    let (mut grid, chains) = grid(sizes, edges);
    for sweep in 0..SWEEPS {
        grid.order(sweep % 2 == 0);
    }
    grid.settle();
    let mut x_of_column = Vec::with_capacity(grid.columns.len());
    let mut x = MARGIN;
    for column in &grid.columns {
        let width = column.iter().filter(|&&i| i < sizes.len()).map(|&i| sizes[i].width).fold(0.0, f64::max);
        x_of_column.push(x + width / 2.0);
        x += width + COLUMN_GAP;
    }
    let top = (0..grid.y.len()).map(|i| grid.y[i] - grid.height[i] / 2.0).fold(f64::INFINITY, f64::min);
    let bottom = (0..grid.y.len()).map(|i| grid.y[i] + grid.height[i] / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let place = |item: usize| Point { x: x_of_column[grid.column[item]], y: grid.y[item] - top + MARGIN };
    let empty = sizes.is_empty();
    Layout {
        nodes: (0..sizes.len()).map(place).collect(),
        bends: chains.iter().map(|chain| chain.iter().map(|&i| place(i)).collect()).collect(),
        width: if empty { 2.0 * MARGIN } else { x - COLUMN_GAP + MARGIN },
        height: if empty { 2.0 * MARGIN } else { bottom - top + 2.0 * MARGIN },
    }
}

/// Columns by longest path, and for each arrow the stand-ins where it crosses a column.
fn grid(sizes: &[Size], edges: &[(usize, usize)]) -> (Grid, Vec<Vec<usize>>) {
    let mut column = longest_paths(sizes.len(), edges);
    let mut height: Vec<f64> = sizes.iter().map(|s| s.height).collect();
    let mut links: Vec<(usize, usize)> = Vec::new();
    let mut chains = Vec::with_capacity(edges.len());
    for &(from, to) in edges {
        let mut chain = Vec::new();
        let mut last = from;
        for between in column[from] + 1..column[to] {
            let item = column.len();
            column.push(between);
            height.push(4.0);
            links.push((last, item));
            chain.push(item);
            last = item;
        }
        links.push((last, to));
        chains.push(chain);
    }
    let items = column.len();
    let mut columns = vec![Vec::new(); column.iter().max().map_or(0, |m| m + 1)];
    for (item, &c) in column.iter().enumerate() {
        columns[c].push(item);
    }
    let (mut left, mut right) = (vec![Vec::new(); items], vec![Vec::new(); items]);
    for (from, to) in links {
        right[from].push(to);
        left[to].push(from);
    }
    (Grid { column, height, left, right, columns, y: vec![0.0; items] }, chains)
}

/// The length of the longest path that leads to each node; a source that feeds only a far column moves next to it.
fn longest_paths(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut right = vec![Vec::new(); nodes];
    let mut missing = vec![0usize; nodes];
    for &(from, to) in edges {
        right[from].push(to);
        missing[to] += 1;
    }
    let sources: Vec<usize> = (0..nodes).filter(|&n| missing[n] == 0).collect();
    let mut column = vec![0usize; nodes];
    let mut ready = sources.clone();
    while let Some(node) = ready.pop() {
        for &next in &right[node] {
            column[next] = column[next].max(column[node] + 1);
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(next);
            }
        }
    }
    for source in sources {
        if let Some(first) = right[source].iter().map(|&n| column[n]).min() {
            column[source] = first.saturating_sub(1);
        }
    }
    column
}

impl Grid {
    /// Sorts each column by the mean place of the neighbours on one side; a column without any keeps its order.
    fn order(&mut self, rightwards: bool) {
        let mut place = vec![0.0; self.column.len()];
        for column in &self.columns {
            for (row, &item) in column.iter().enumerate() {
                place[item] = row as f64;
            }
        }
        let count = self.columns.len();
        for step in 1..count {
            let c = if rightwards { step } else { count - 1 - step };
            let neighbours = if rightwards { &self.left } else { &self.right };
            let column = &mut self.columns[c];
            let mean = |item: usize| {
                let near = &neighbours[item];
                if near.is_empty() {
                    return place[item];
                }
                near.iter().map(|&n| place[n]).sum::<f64>() / near.len() as f64
            };
            let mut keyed: Vec<(f64, usize)> = column.iter().map(|&i| (mean(i), i)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *column = keyed.into_iter().map(|(_, i)| i).collect();
            for (row, &item) in column.iter().enumerate() {
                place[item] = row as f64;
            }
        }
    }

    /// Heights: first stacked, then pulled towards the neighbours' mean, boxes kept apart after each pull.
    fn settle(&mut self) {
        for column in &self.columns {
            let mut y = 0.0;
            for &item in column {
                self.y[item] = y + self.height[item] / 2.0;
                y += self.height[item] + ROW_GAP;
            }
        }
        let tallest = self.columns.iter().map(|c| self.stack(c)).fold(0.0, f64::max);
        for column in &self.columns {
            let down = (tallest - self.stack(column)) / 2.0;
            column.iter().for_each(|&item| self.y[item] += down);
        }
        for sweep in 0..SWEEPS {
            for step in 0..self.columns.len() {
                let c = if sweep % 2 == 0 { step } else { self.columns.len() - 1 - step };
                self.pull(c);
            }
        }
    }

    fn stack(&self, column: &[usize]) -> f64 {
        column.iter().map(|&i| self.height[i] + ROW_GAP).sum::<f64>() - ROW_GAP
    }

    fn pull(&mut self, c: usize) {
        let column = &self.columns[c];
        let wanted: Vec<f64> = column
            .iter()
            .map(|&item| {
                let near: Vec<f64> = self.left[item].iter().chain(&self.right[item]).map(|&n| self.y[n]).collect();
                if near.is_empty() { self.y[item] } else { near.iter().sum::<f64>() / near.len() as f64 }
            })
            .collect();
        // Blocks of touching boxes, each at the mean of what its members want (pool adjacent violators).
        let mut blocks: Vec<(f64, usize, usize)> = Vec::new();
        let mut offset = vec![0.0; column.len()];
        for (row, &item) in column.iter().enumerate() {
            if row > 0 {
                offset[row] = offset[row - 1] + (self.height[column[row - 1]] + self.height[item]) / 2.0 + ROW_GAP;
            }
            blocks.push((wanted[row] - offset[row], row, 1));
            while let [.., a, b] = blocks.as_slice()
                && a.0 > b.0
            {
                let (a, b) = (*a, *b);
                blocks.truncate(blocks.len() - 2);
                let mean = (a.0 * a.2 as f64 + b.0 * b.2 as f64) / (a.2 + b.2) as f64;
                blocks.push((mean, a.1, a.2 + b.2));
            }
        }
        for (at, first, count) in blocks {
            for row in first..first + count {
                self.y[column[row]] = at + offset[row];
            }
        }
    }
}
