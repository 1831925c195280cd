//! Devices that a model runs on, and the `[hardware]` fragment that declares one.

pub mod cpu;
pub mod cuda;
pub mod setup;

use engine::kind::{Complaint, Needs, Oracle};
use serde::{Deserialize, Serialize};

/// The `[hardware]` fragment, shared by `profile` and `bench` so that they cannot disagree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hardware {
    /// What computes.
    pub device: DeviceSort,
    /// The declared card: every word of it must occur in the device's own name. Of a processor: for people only.
    pub name: Option<String>,
    /// Memory that the model and its KV pool may take, MiB; 0 = what the machine has. Of a card: its least memory.
    pub memory_mib: u64,
    /// Threads that compute (`cpu`).
    pub threads: u16,
    /// Peak of dense products by the data sheet, FLOP/s; 0 = not known. For utilisation figures only.
    pub peak_flops: f64,
    /// Peak of memory by the data sheet, bytes/s; 0 = not known. For utilisation figures only.
    pub bandwidth_bytes_per_s: f64,
}

impl Default for Hardware {
    fn default() -> Hardware {
        Hardware {
            device: DeviceSort::Cpu,
            name: None,
            memory_mib: 0,
            threads: 1,
            peak_flops: 0.0,
            bandwidth_bytes_per_s: 0.0,
        }
    }
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceSort {
    /// This machine's processor.
    Cpu,
    /// An NVIDIA card.
    Cuda,
}

impl DeviceSort {
    /// The word in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            DeviceSort::Cpu => "cpu",
            DeviceSort::Cuda => "cuda",
        }
    }
}

impl Hardware {
    /// Checks the fragment. Pure.
    ///
    /// # Errors
    /// The field at fault, as `hardware.<field>`.
    pub fn check(&self) -> Result<(), Complaint> {
        if self.threads == 0 {
            return Err(Complaint::new("hardware.threads", "no thread can compute nothing")
                .help("set `threads` to 1 or more; 1 gives the steadiest timings"));
        }
        for (field, value) in [("peak_flops", self.peak_flops), ("bandwidth_bytes_per_s", self.bandwidth_bytes_per_s)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Complaint::new(format!("hardware.{field}"), format!("{value} is no rate"))
                    .help("give the data sheet's figure, or leave it out"));
            }
        }
        Ok(())
    }

    /// What a stage that measures on this hardware must hold: its cores or its card, and quiet.
    pub fn needs(&self) -> Needs {
        match self.device {
            DeviceSort::Cpu => {
                Needs { cpus: self.threads, memory_mib: self.memory_mib, quiet: true, ..Needs::default() }
            }
            DeviceSort::Cuda => Needs {
                cpus: 1,
                gpus: 1,
                gpu_name: self.name.clone(),
                gpu_memory_mib: self.memory_mib,
                quiet: true,
                ..Needs::default()
            },
        }
    }

    /// The facts of the world that a measurement on it depends on.
    pub fn oracles(&self) -> Vec<Oracle> {
        match self.device {
            DeviceSort::Cpu => vec![Oracle::Host],
            DeviceSort::Cuda => vec![Oracle::Gpu, Oracle::Driver],
        }
    }
}

#[cfg(test)]
mod tests;
