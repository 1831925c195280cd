//! Facts of the world that may enter keys: what processor, which cards, which driver.
//!
//! It does not know stages' configurations or who holds a card. The driver's library is opened when first asked for,
//! so a machine without it starts as fast and simply has no cards.
//!
//! Invariant: a fact is text that is equal exactly where the hardware is of the same sort; no serial number, no UUID,
//! no host name is in it.

use std::ffi::OsString;
use std::sync::OnceLock;

use crate::kind::{Needs, Oracle};

pub mod gauge;

#[cfg(test)]
mod tests;

use gauge::Gauge;

/// A card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// `GPU-…`; what `CUDA_VISIBLE_DEVICES` takes.
    pub uuid: String,
    /// The device's own name.
    pub name: String,
    /// MiB.
    pub memory_mib: u64,
    /// Its place on the bus; the order of the list.
    pub bus: String,
}

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As the system names it.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: u16,
    /// MiB.
    pub memory_mib: u64,
}

/// The cards of this machine and their driver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cards {
    /// In the order of the bus; only those that `CUDA_VISIBLE_DEVICES` allows, where it is set.
    pub cards: Vec<Card>,
    /// The driver's version; empty where there is none.
    pub driver: String,
    /// Why there are no cards, where something says so.
    pub trouble: Option<String>,
}

/// What this machine is; each part is looked up when first asked for.
#[derive(Debug, Default)]
pub struct Facts {
    host: OnceLock<Host>,
    cards: OnceLock<Cards>,
    gauge: OnceLock<Result<Gauge, String>>,
    library: Option<OsString>,
    allowed: Option<String>,
}

/// No cards that would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// What was declared, in words: `1 GPU named "A100"`.
    pub declared: String,
    /// What is here, in words: `no GPU (…)`, `1 × NVIDIA H200, 143771 MiB`.
    pub found: String,
}

impl Facts {
    /// Of this machine; `PIPE_NVML` names another library than the driver's own, `CUDA_VISIBLE_DEVICES` (or else
    /// Slurm) the cards that may be used.
    pub fn here() -> Facts {
        Facts {
            library: std::env::var_os("PIPE_NVML"),
            allowed: allowed(|name| std::env::var(name).ok()),
            ..Facts::default()
        }
    }

    /// A machine that is told and not looked at.
    pub fn given(host: Host, cards: Cards) -> Facts {
        let gauge = Err("it is told and not looked at".to_owned()).into();
        Facts { host: host.into(), cards: cards.into(), gauge, ..Facts::default() }
    }

    /// The processor.
    pub fn host(&self) -> &Host {
        self.host.get_or_init(Host::here)
    }

    /// What tells of a card's present; nothing where there is no driver.
    pub fn gauge(&self) -> Option<&Gauge> {
        self.opened().as_ref().ok()
    }

    fn opened(&self) -> &Result<Gauge, String> {
        self.gauge.get_or_init(|| Gauge::open(self.library.as_deref()))
    }

    /// The cards.
    pub fn cards(&self) -> &Cards {
        self.cards.get_or_init(|| {
            let read = self.opened().as_ref().map_err(Clone::clone).and_then(read_cards);
            let mut cards = read.unwrap_or_else(|trouble| Cards { trouble: Some(trouble), ..Cards::default() });
            if let Some(allowed) = &self.allowed {
                cards.cards = allow(cards.cards, allowed);
            }
            cards
        })
    }

    /// The cards among which a stage with these `needs` may get its own: all of one name and memory, so that it does
    /// not matter to the result which it gets. Empty for a stage that needs none.
    ///
    /// # Errors
    /// When there are not enough.
    pub fn eligible(&self, needs: &Needs) -> Result<Vec<&Card>, Absent> {
        if needs.gpus == 0 {
            return Ok(Vec::new());
        }
        let fits = |card: &&Card| {
            let name = card.name.to_lowercase();
            let words = needs.gpu_name.as_deref().unwrap_or_default().to_lowercase();
            card.memory_mib >= needs.gpu_memory_mib.max(needs.gpu_budget_mib)
                && words.split_whitespace().all(|word| name.contains(word))
        };
        let fitting: Vec<&Card> = self.cards().cards.iter().filter(fits).collect();
        for first in &fitting {
            let alike: Vec<&Card> = fitting
                .iter()
                .filter(|c| (&c.name, c.memory_mib) == (&first.name, first.memory_mib))
                .copied()
                .collect();
            if alike.len() >= usize::from(needs.gpus) {
                return Ok(alike);
            }
        }
        Err(Absent { declared: declared(needs), found: self.found() })
    }

    /// What is here, in words.
    pub fn found(&self) -> String {
        let cards = self.cards();
        if cards.cards.is_empty() {
            return match &cards.trouble {
                Some(trouble) => format!("no GPU ({trouble})"),
                None => "no GPU".to_owned(),
            };
        }
        let mut sorts: Vec<(String, usize)> = Vec::new();
        for card in &cards.cards {
            let sort = format!("{}, {} MiB", card.name, card.memory_mib);
            match sorts.iter_mut().find(|(s, _)| *s == sort) {
                Some((_, count)) => *count += 1,
                None => sorts.push((sort, 1)),
            }
        }
        sorts.iter().map(|(sort, count)| format!("{count} × {sort}")).collect::<Vec<_>>().join("; ")
    }

    /// The facts that `oracles` ask for, as they enter the key of a stage with these `needs`.
    ///
    /// # Errors
    /// When a card is asked about that is not here.
    pub fn ask(&self, oracles: &[Oracle], needs: &Needs) -> Result<Vec<(String, String)>, Absent> {
        let mut oracles = oracles.to_vec();
        oracles.sort();
        oracles.dedup();
        oracles
            .into_iter()
            .map(|oracle| match oracle {
                Oracle::Host => {
                    let host = self.host();
                    Ok(("host".to_owned(), format!("{}, {} cores", host.processor, host.cores)))
                }
                Oracle::Gpu => {
                    let cards = self.eligible(needs)?;
                    let said = cards.first().map(|c| format!("{} × {}, {} MiB", needs.gpus, c.name, c.memory_mib));
                    Ok(("gpu".to_owned(), said.unwrap_or_else(|| "none".to_owned())))
                }
                Oracle::Driver => {
                    let driver = &self.cards().driver;
                    Ok(("driver".to_owned(), if driver.is_empty() { "none".to_owned() } else { driver.clone() }))
                }
            })
            .collect()
    }
}

fn declared(needs: &Needs) -> String {
    let mut text = format!("{} GPU{}", needs.gpus, if needs.gpus == 1 { "" } else { "s" });
    if let Some(name) = &needs.gpu_name {
        text.push_str(&format!(" named `{name}`"));
    }
    if needs.gpu_memory_mib > 0 {
        text.push_str(&format!(" with {} MiB", needs.gpu_memory_mib));
    }
    text
}

impl Host {
    /// This machine.
    fn here() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let kib = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .unwrap_or(0);
        let cores = std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX));
        Host { processor, cores, memory_mib: kib / 1024 }
    }
}

fn read_cards(gauge: &Gauge) -> Result<Cards, String> {
    let nvml = gauge.nvml();
    let driver = nvml.sys_driver_version().map_err(|e| e.to_string())?;
    let mut cards = Vec::new();
    for index in 0..nvml.device_count().map_err(|e| e.to_string())? {
        let card = || -> Result<Card, nvml_wrapper::error::NvmlError> {
            let device = nvml.device_by_index(index)?;
            Ok(Card {
                uuid: device.uuid()?,
                name: device.name()?,
                memory_mib: device.memory_info()?.total >> 20,
                bus: device.pci_info()?.bus_id,
            })
        };
        // A card that has fallen off the bus does not take the others with it.
        if let Ok(card) = card() {
            cards.push(card);
        }
    }
    cards.sort_by(|a, b| a.bus.cmp(&b.bus));
    Ok(Cards { cards, driver, trouble: None })
}

/// The words on which cards may be used, from whoever gave them to us: `CUDA_VISIBLE_DEVICES`, else what Slurm says that
/// this step or job was given.
fn allowed(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    ["CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"].into_iter().find_map(variable)
}

/// Those of `cards` that `CUDA_VISIBLE_DEVICES` names, by UUID (or the beginning of one) or by number; like the
/// driver, it reads up to the first word that names no card.
fn allow(cards: Vec<Card>, words: &str) -> Vec<Card> {
    let mut allowed: Vec<Card> = Vec::new();
    for word in words.split(',').map(str::trim) {
        let card = match word.parse::<usize>() {
            Ok(index) => cards.get(index),
            Err(_) if word.is_empty() => None,
            Err(_) => cards.iter().find(|c| c.uuid.starts_with(word)),
        };
        let Some(card) = card else { break };
        if !allowed.contains(card) {
            allowed.push(card.clone());
        }
    }
    allowed
}
