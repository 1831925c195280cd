//! Who gets a request.

use std::collections::HashSet;

use super::super::request::Request;

/// Who gets a request. *Outstanding* are requests that a replica was handed and has not completed: waiting and running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// In turn.
    #[default]
    RoundRobin,
    /// Any, by lot.
    Random,
    /// Who has the fewest outstanding; of several the first.
    LeastOutstanding,
    /// Of two drawn by lot, who has fewer outstanding (Mitzenmacher 2001).
    PowerOfTwo,
    /// Who was handed the longest part of its prefix before, unless that one has far more outstanding than the least.
    PrefixAware,
    /// One queue for all: a request waits there until a replica has fewer outstanding than `max_sequences`.
    Queue,
}

/// Tokens of a prompt that count as one block where the workload names no prefix blocks.
const BLOCK_TOKENS: usize = 16;
/// A replica has far more outstanding than another when it has more than twice as many and this many more.
const FAR_MORE: usize = 8;

/// Hands out by one [`Routing`], and remembers what it needs for that.
pub(super) struct Router<'a> {
    routing: Routing,
    turn: usize,
    /// Prefixes that each replica was handed, by the hash of everything up to the block's end.
    handed: Vec<HashSet<u64>>,
    draw: &'a mut dyn FnMut(u32) -> u32,
}

impl<'a> Router<'a> {
    pub(super) fn new(routing: Routing, replicas: usize, draw: &'a mut dyn FnMut(u32) -> u32) -> Router<'a> {
        Router { routing, turn: 0, handed: vec![HashSet::new(); replicas], draw }
    }

    /// Chooses among replicas with their outstanding requests; there is at least one.
    pub(super) fn choose(&mut self, request: &Request, candidates: &[(usize, usize)]) -> usize {
        match self.routing {
            Routing::RoundRobin => {
                self.turn += 1;
                candidates[(self.turn - 1) % candidates.len()].0
            }
            Routing::Random => candidates[self.draw(candidates.len())].0,
            Routing::LeastOutstanding | Routing::Queue => least(candidates).0,
            Routing::PowerOfTwo => {
                let one = self.draw(candidates.len());
                if candidates.len() == 1 {
                    return candidates[one].0;
                }
                let other = (one + 1 + self.draw(candidates.len() - 1)) % candidates.len();
                least(&[candidates[one], candidates[other]]).0
            }
            Routing::PrefixAware => self.by_prefix(request, candidates),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        (self.draw)(u32::try_from(below).expect("a fleet has fewer than 2^32 replicas")) as usize
    }

    fn by_prefix(&mut self, request: &Request, candidates: &[(usize, usize)]) -> usize {
        let chain = chain(request);
        let known = |replica: usize| chain.iter().take_while(|hash| self.handed[replica].contains(hash)).count();
        let few = least(candidates);
        let mut best = few;
        let mut longest = known(few.0);
        for candidate in candidates {
            let far_more = candidate.1 > 2 * few.1 && candidate.1 > few.1 + FAR_MORE;
            let length = known(candidate.0);
            if !far_more && length > longest {
                (best, longest) = (*candidate, length);
            }
        }
        self.handed[best.0].extend(chain);
        best.0
    }
}

/// Who has the fewest outstanding; of several the first.
fn least(candidates: &[(usize, usize)]) -> (usize, usize) {
    *candidates.iter().min_by_key(|(_, outstanding)| *outstanding).expect("there is a candidate")
}

/// A hash for each full block of the prompt, over everything up to its end (FNV-1a over words).
fn chain(request: &Request) -> Vec<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut word = |w: u64| {
        hash = (hash ^ w).wrapping_mul(0x100_0000_01b3);
        hash ^= hash >> 29;
        hash
    };
    if request.prefix_blocks.is_empty() {
        let blocks = request.prompt.chunks_exact(BLOCK_TOKENS);
        blocks.map(|block| block.iter().fold(0, |_, id| word(u64::from(*id)))).collect()
    } else {
        request.prefix_blocks.iter().map(|id| word(*id)).collect()
    }
}
