//! Which part of an INF is for which Windows.

use super::inf::{Inf, at_line};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;

/// Processor architecture of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86,
    Amd64,
    Arm64,
}

impl Architecture {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::X86 => "x86",
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// PROCESSOR_ARCHITECTURE_* of winnt.h.
    pub(crate) fn number(self) -> u16 {
        match self {
            Architecture::X86 => 0,
            Architecture::Amd64 => 9,
            Architecture::Arm64 => 12,
        }
    }

    /// IMAGE_FILE_MACHINE_* of the PE format.
    pub(crate) fn machine(self) -> u16 {
        match self {
            Architecture::X86 => 0x14c,
            Architecture::Amd64 => 0x8664,
            Architecture::Arm64 => 0xaa64,
        }
    }
}

/// The Windows that a package is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) architecture: Architecture,
    /// Major, minor, build.
    pub(crate) version: (u32, u32, u32),
    /// VER_NT_WORKSTATION 1, VER_NT_DOMAIN_CONTROLLER 2, VER_NT_SERVER 3.
    product: u32,
}

impl Target {
    /// What the hives say. `Unsupported` for what is not known.
    pub(crate) fn of(facts: &Facts) -> Result<Target> {
        let unknown = |what: &str, text: Option<&str>| {
            let text = text.unwrap_or_default().escape_debug();
            Error::new(Kind::Unsupported, format!("{what} is `{text}`: which drivers fit is not known"))
        };
        let product = &facts.product;
        let architecture = match product.architecture.as_deref() {
            Some("amd64") => Architecture::Amd64,
            Some("x86") => Architecture::X86,
            Some("arm64") => Architecture::Arm64,
            other => return Err(unknown("PROCESSOR_ARCHITECTURE", other)),
        };
        let build = product.build.as_deref();
        let number = build.and_then(|b| b.split('.').next()).and_then(|b| b.parse().ok());
        let (major, minor, build) = match number {
            Some(n @ 7600..=7699) => (6, 1, n),
            Some(n @ 9200) => (6, 2, n),
            Some(n @ 9600) => (6, 3, n),
            Some(n @ 10_240..) => (10, 0, n),
            _ => return Err(unknown("CurrentBuild", build)),
        };
        let kind = match facts.is_domain_controller() {
            true => 2,
            false if facts.is_server() => 3,
            false => 1,
        };
        Ok(Target { architecture, version: (major, minor, build), product: kind })
    }

    /// Whether its drivers stand in a DriverDatabase: since Windows 8. Before, a list of critical devices serves.
    pub(crate) fn has_driver_database(&self) -> bool {
        self.version.2 >= 9200
    }

    #[cfg(test)]
    pub(crate) fn made_up() -> Target {
        Target { architecture: Architecture::Amd64, version: (10, 0, 22_631), product: 1 }
    }
}

/// How well a `TargetOSVersion` fits: `NT[Architecture][.[Major][.[Minor][.[ProductType][.[SuiteMask][.[Build]]]]]]`.
/// `None` when it does not.
fn fit(decoration: &str, target: &Target) -> Option<(bool, u32, u32, bool, u32)> {
    let mut parts = decoration.split('.');
    let head = parts.next()?.to_ascii_lowercase();
    let architecture = head.strip_prefix("nt")?;
    // Without an architecture it is for x86, the only one that may leave it out.
    let own = target.architecture.name();
    if architecture != own && !(architecture.is_empty() && target.architecture == Architecture::X86) {
        return None;
    }
    let mut next = || -> Option<Option<u32>> {
        match parts.next().unwrap_or_default() {
            "" => Some(None),
            text => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(hex) => u32::from_str_radix(hex, 16).ok().map(Some),
                None => text.parse().ok().map(Some),
            },
        }
    };
    let (major, minor, product, suite, build) = (next()?, next()?, next()?, next()?, next()?);
    let version = (major.unwrap_or(0), minor.unwrap_or(0), build.unwrap_or(0));
    // Which suites an image has is not looked up.
    let fits = version <= target.version && product.is_none_or(|p| p == target.product) && suite.is_none();
    fits.then_some((!architecture.is_empty(), version.0, version.1, product.is_some(), version.2))
}

/// The models sections for this Windows, with the line that names each.
pub(super) fn models_of(inf: &Inf, target: &Target) -> Result<Vec<(String, usize)>> {
    let mut out = Vec::new();
    let makers = inf.section("Manufacturer").unwrap_or_default();
    for line in makers {
        let base = line.field(0);
        if base.is_empty() {
            return Err(at_line(line.number, "a manufacturer without a section of models"));
        }
        let decorations = line.fields.iter().skip(1).filter(|d| !d.is_empty());
        let best = decorations.filter_map(|d| Some((fit(d, target)?, d))).max();
        match best {
            Some((_, decoration)) => out.push((format!("{base}.{decoration}"), line.number)),
            None if target.architecture == Architecture::X86 && inf.section(base).is_some() => {
                out.push((base.to_owned(), line.number));
            }
            None => {}
        }
    }
    if out.is_empty() {
        let (major, minor, build) = target.version;
        let own = target.architecture.name();
        let offers: Vec<&str> = makers.iter().flat_map(|line| line.fields.iter().skip(1)).map(String::as_str).collect();
        return Err(Error::new(
            Kind::Unsupported,
            format!("it has no driver for Windows {major}.{minor}.{build} on {own}"),
        )
        .hint(format!("the INF is for: {}", if offers.is_empty() { "x86".to_owned() } else { offers.join(", ") })));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decorations() {
        let target = Target::made_up();
        for fits in ["NTamd64", "ntAMD64.10.0", "NTamd64.6.1", "NTamd64.10.0...22000", "NTamd64.10.0.1", "NTamd64...1"]
        {
            assert!(fit(fits, &target).is_some(), "{fits}");
        }
        for not in [
            "NT",
            "NTx86",
            "NTarm64.10.0",
            "NTamd64.10.1",
            "NTamd64.10.0...26100",
            "NTamd64.10.0.3",
            "amd64",
            "NTamd64.x",
        ] {
            assert!(fit(not, &target).is_none(), "{not}");
        }
        assert!(fit("NTamd64.10.0...16299", &target) > fit("NTamd64.10.0", &target));
        assert!(fit("NTamd64.10.0", &target) > fit("NTamd64.6.3", &target));
        let old = Target { architecture: Architecture::X86, version: (6, 1, 7601), product: 3 };
        assert!(fit("NT", &old).is_some() && fit("NTx86.6.1.0x3", &old) > fit("NTx86.6.1", &old));
        assert!(fit("NTamd64", &old).is_none());
    }

    #[test]
    fn the_closest_section_is_taken() {
        let inf = Inf::parse(b"[Manufacturer]\nA=M,NTamd64.6.1,NTamd64.10.0,NTarm64\nB=N,NTx86").unwrap();
        assert_eq!(models_of(&inf, &Target::made_up()).unwrap(), [("M.NTamd64.10.0".to_owned(), 2)]);
        let other = Inf::parse(b"[Manufacturer]\nB=N,NTx86").unwrap();
        let error = models_of(&other, &Target::made_up()).unwrap_err();
        assert_eq!((error.kind(), error.next_step()), (Kind::Unsupported, Some("the INF is for: NTx86")));
    }
}
