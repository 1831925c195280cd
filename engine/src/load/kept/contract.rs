//! Contracts in the flat form. A way to digest by meaning is kept by its name, which the program must know.

use std::borrow::Cow;

use crate::kind::{Contract, Identity, Needs, Oracle, Port, Program, Sort};
use crate::meaning;
use crate::pack::{Packer, Unpacker};

pub(super) fn pack(contract: &Contract) -> Vec<u8> {
    let mut packer = Packer::default();
    for ports in [&contract.inputs, &contract.outputs] {
        packer.count(ports.len());
        for port in ports {
            for text in [&port.name, &port.holds, &port.about, &port.extension] {
                packer.text(text);
            }
            let flags = [port.many, port.optional, port.shown];
            packer.u8(flags.iter().zip(0..).map(|(flag, at)| u8::from(*flag) << at).sum());
            packer.maybe(port.meaning, |packer, meaning| packer.text(meaning.name));
        }
    }
    let Needs { cpus, memory_mib, gpus, gpu_name, gpu_memory_mib, gpu_budget_mib, quiet } = &contract.needs;
    packer.u32((*cpus).into());
    packer.u64(*memory_mib);
    packer.u8(*gpus);
    packer.maybe(gpu_name.as_deref(), Packer::text);
    packer.u64(*gpu_memory_mib);
    packer.u64(*gpu_budget_mib);
    packer.u8(u8::from(*quiet));
    packer.count(contract.oracles.len());
    for oracle in &contract.oracles {
        packer.u8(match oracle {
            Oracle::Host => 0,
            Oracle::Gpu => 1,
            Oracle::Driver => 2,
        });
    }
    packer.u8(u8::from(contract.sort == Sort::Measured));
    packer.count(contract.tools.len());
    for tool in &contract.tools {
        let (is_probe, words) = match tool {
            Identity::Executable(word) => (0, std::slice::from_ref(word)),
            Identity::Probe(words) => (1, words.as_slice()),
        };
        packer.u8(is_probe);
        packer.count(words.len());
        for word in words {
            packer.text(word);
        }
    }
    packer.0
}

pub(super) fn unpack(reader: &mut Unpacker<'_>, program: &Program) -> Option<Contract> {
    let (inputs, outputs) = (ports(reader, program)?, ports(reader, program)?);
    let needs = Needs {
        cpus: u16::try_from(reader.u32()?).ok()?,
        memory_mib: reader.u64()?,
        gpus: reader.u8()?,
        gpu_name: reader.maybe(|reader| reader.text().map(str::to_owned))?,
        gpu_memory_mib: reader.u64()?,
        gpu_budget_mib: reader.u64()?,
        quiet: reader.bool()?,
    };
    let mut oracles = Vec::new();
    for _ in 0..reader.count(1)? {
        oracles.push([Oracle::Host, Oracle::Gpu, Oracle::Driver].get(usize::from(reader.u8()?)).copied()?);
    }
    let sort = if reader.bool()? { Sort::Measured } else { Sort::Computed };
    let mut tools = Vec::new();
    for _ in 0..reader.count(5)? {
        let is_probe = reader.bool()?;
        let mut words = Vec::new();
        for _ in 0..reader.count(4)? {
            words.push(reader.text()?.to_owned());
        }
        tools.push(if is_probe { Identity::Probe(words) } else { Identity::Executable(words.pop()?) });
    }
    Some(Contract { inputs, outputs, needs, oracles, sort, tools })
}

fn ports(reader: &mut Unpacker<'_>, program: &Program) -> Option<Vec<Port>> {
    let mut ports = Vec::new();
    for _ in 0..reader.count(18)? {
        let mut text = || -> Option<Cow<'static, str>> {
            Some(match reader.text()? {
                "" => Cow::Borrowed(""),
                "any" => Cow::Borrowed("any"),
                other => Cow::Owned(other.to_owned()),
            })
        };
        let mut port = Port::new(text()?, text()?, text()?);
        port.extension = text()?;
        let flags = reader.u8()?;
        (port.many, port.optional, port.shown) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        port.meaning = match reader.maybe(Unpacker::text)? {
            Some(name) => Some(meaning::find(name, program.meanings).filter(|meaning| meaning.name == name)?),
            None => None,
        };
        ports.push(port);
    }
    Some(ports)
}
