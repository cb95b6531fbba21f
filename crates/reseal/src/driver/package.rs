//! What an INF says to one Windows: class, version, devices, services, files.
//!
//! Facts: Microsoft's reference of INF sections (Version, Manufacturer, Models, DDInstall, DDInstall.Services, AddService, AddReg,
//! CopyFiles, DestinationDirs, SourceDisksNames, SourceDisksFiles).

use super::inf::{Inf, Line, at_line};
use super::registry::{RegEdit, edits};
pub(crate) use super::target::Target;
use super::target::models_of;
use crate::error::{Error, Kind, Result};
use reseal_dtyp::{FileTime, Guid};
use std::collections::BTreeSet;

/// Folder ids of Windows' drivers and of the package itself in the driver store.
const DRIVERS: &str = "12";
const PACKAGE: &str = "13";
/// More devices than any INF of Windows names.
const MAX_MODELS: usize = 20_000;

/// `[Version]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) class: String,
    pub(crate) class_guid: Option<Guid>,
    pub(crate) provider: String,
    /// `DriverVer`'s date as `yyyy-mm-dd`.
    pub(crate) date: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) catalog: Option<String>,
}

/// A device that the package serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    /// Line in the file.
    pub(crate) line: usize,
    /// The hardware id, then compatible ones.
    pub(crate) ids: Vec<String>,
    /// Name of the install section, as the INF spells it, decorated.
    pub(crate) install: String,
    /// The service that drives it.
    pub(crate) service: Option<String>,
}

/// A service that the package makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Line of its AddService.
    pub(crate) line: usize,
    pub(crate) name: String,
    /// Whether it drives the device, and is no filter or helper.
    pub(crate) is_function: bool,
    pub(crate) kind: u32,
    pub(crate) start: u32,
    pub(crate) error_control: u32,
    pub(crate) group: Option<String>,
    /// Name of its binary, without a folder.
    pub(crate) binary: String,
    /// Whether the binary belongs in System32\drivers, or in the package itself.
    pub(crate) has_known_folder: bool,
    /// What its AddReg sets below its own key.
    pub(crate) registry: Vec<RegEdit>,
}

/// A file of the package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceFile {
    /// Path below the INF's folder, with backslashes.
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// What an INF says to one Windows.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) header: Header,
    pub(crate) models: Vec<Model>,
    pub(crate) services: Vec<Service>,
    pub(crate) files: Vec<SourceFile>,
    /// Renamed while they are copied: (name on the machine, name in the package), in small letters.
    renamed: Vec<(String, String)>,
}

impl Header {
    /// Reads `[Version]`; `Damaged` without the signature of an INF for Windows NT.
    pub(crate) fn read(inf: &Inf, target: &Target) -> Result<Header> {
        let signature = inf.value("Version", "Signature").unwrap_or_default();
        if !["$windows nt$", "$chicago$"].contains(&signature.to_ascii_lowercase().as_str()) {
            let detail = format!("[Version] has the signature `{}`: no INF of a driver", signature.escape_debug());
            return Err(Error::new(Kind::Damaged, detail));
        }
        let text = |key: &str| inf.value("Version", key).filter(|text| !text.is_empty()).map(str::to_owned);
        let (date, version) = match inf.entries("Version", "DriverVer").next() {
            None => (None, None),
            Some(line) => (Some(date(line)?), Some(line.field(1).to_owned()).filter(|v| !v.is_empty())),
        };
        let decorated =
            [format!("CatalogFile.NT{}", target.architecture.name()), "CatalogFile.NT".into(), "CatalogFile".into()];
        Ok(Header {
            class: text("Class").unwrap_or_default(),
            class_guid: text("ClassGuid").as_deref().and_then(Guid::parse),
            provider: text("Provider").unwrap_or_default(),
            date,
            version,
            catalog: decorated.iter().find_map(|key| text(key)),
        })
    }
}

/// `mm/dd/yyyy` as `yyyy-mm-dd`; hyphens serve, too.
fn date(line: &Line) -> Result<String> {
    let parts: Vec<u16> = line.field(0).split(['/', '-']).map_while(|part| part.trim().parse().ok()).collect();
    let [month, day, year] = parts[..] else {
        return Err(at_line(line.number, format!("DriverVer `{}` is no date", line.field(0).escape_debug())));
    };
    let text = format!("{year:04}-{month:02}-{day:02}");
    match FileTime::parse(&format!("{text}T00:00:00Z")) {
        Some(_) => Ok(text),
        None => Err(at_line(line.number, format!("DriverVer {text} is no day"))),
    }
}

/// A name of one file without a folder.
fn plain_name(line: usize, name: &str) -> Result<&str> {
    let bad = |c: char| c.is_control() || "\\/:*?\"<>|".contains(c);
    if name.is_empty() || name == "." || name == ".." || name.len() > 255 || name.contains(bad) {
        return Err(at_line(line, format!("`{}` is no name of a file", name.escape_debug())));
    }
    Ok(name)
}

/// A path below a folder: plain names only.
fn plain_path(line: usize, path: &str) -> Result<String> {
    let parts = path.split(['\\', '/']).filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = parts.map(|part| plain_name(line, part)).collect::<Result<_>>()?;
    Ok(parts.join("\\"))
}

/// A number of the INF: decimal, or hexadecimal after `0x`.
pub(super) fn number(line: usize, text: &str) -> Result<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let parsed = match hex {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse::<u32>().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned)),
    };
    parsed.ok_or_else(|| at_line(line, format!("`{}` is no number", text.escape_debug())))
}

impl Package {
    /// Reads what the INF says to this Windows. `Unsupported` when it has nothing for it.
    pub(crate) fn read(inf: &Inf, target: &Target) -> Result<Package> {
        let header = Header::read(inf, target)?;
        let mut models: Vec<Model> = Vec::new();
        for (section, line) in models_of(inf, target)? {
            for line in
                inf.section(&section).ok_or_else(|| at_line(line, format!("there is no section [{section}]")))?
            {
                models.push(model(inf, target, line)?);
                if models.len() > MAX_MODELS {
                    return Err(Error::new(Kind::Unsupported, format!("more than {MAX_MODELS} devices")));
                }
            }
        }
        let mut services: Vec<Service> = Vec::new();
        let installs: BTreeSet<String> = models.iter().map(|m| m.install.clone()).collect();
        let mut renamed = Vec::new();
        for install in &installs {
            for service in services_of(inf, install)? {
                if service.is_function {
                    let own = models.iter_mut().filter(|m| m.install == *install);
                    own.for_each(|model| model.service = Some(service.name.clone()));
                }
                match services.iter().find(|have| have.name.eq_ignore_ascii_case(&service.name)) {
                    Some(have) if !have.says_as(&service) => {
                        let detail = format!("the service {} is described twice, and differently", service.name);
                        return Err(at_line(service.line, detail));
                    }
                    Some(_) => {}
                    None => services.push(service),
                }
            }
            renamed.extend(copies(inf, install)?);
        }
        Ok(Package { header, models, services, files: files(inf, target)?, renamed })
    }

    /// Where the binary of a service lies in the package.
    pub(crate) fn source_of(&self, service: &Service) -> Result<&SourceFile> {
        let name = service.binary.to_ascii_lowercase();
        let name = self.renamed.iter().find(|(to, _)| *to == name).map_or(name.as_str(), |(_, from)| from);
        let is_it = |file: &&SourceFile| file.path.rsplit('\\').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        self.files.iter().find(is_it).ok_or_else(|| {
            at_line(
                service.line,
                format!("no [SourceDisksFiles] names {name}, the binary of the service {}", service.name),
            )
        })
    }

    /// Ids of all devices, each once.
    pub(crate) fn hardware_ids(&self) -> Vec<String> {
        let ids = self.models.iter().filter_map(|model| model.ids.first());
        ids.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}

impl Service {
    fn says_as(&self, other: &Service) -> bool {
        let rest = |s: &Service| Service { line: 0, is_function: false, name: String::new(), ..s.clone() };
        rest(self) == rest(other)
    }
}

/// The section of a name with the closest decoration: of the architecture, of NT, none.
fn decorated(inf: &Inf, target: &Target, name: &str) -> Option<String> {
    let forms = [format!("{name}.NT{}", target.architecture.name()), format!("{name}.NT"), name.to_owned()];
    forms.into_iter().find(|form| inf.section(form).is_some())
}

fn model(inf: &Inf, target: &Target, line: &Line) -> Result<Model> {
    let ids: Vec<String> = line.fields.iter().skip(1).filter(|id| !id.is_empty()).cloned().collect();
    for id in &ids {
        let sound = id.len() <= 200 && id.chars().all(|c| !c.is_control() && c != ',' && c != ' ');
        let parts = id.split('\\').collect::<Vec<_>>();
        // Each part becomes the name of a key.
        if !sound || parts.len() > 4 || parts.iter().any(|part| part.is_empty()) {
            return Err(at_line(line.number, format!("`{}` is no hardware id", id.escape_debug())));
        }
    }
    let install = decorated(inf, target, line.field(0))
        .ok_or_else(|| at_line(line.number, format!("there is no section [{}]", line.field(0).escape_debug())))?;
    if install.contains('\\') || install.chars().any(char::is_control) {
        return Err(at_line(line.number, "the name of the install section can be none of a key"));
    }
    Ok(Model { line: line.number, ids, install, service: None })
}

/// SPSVCINST_ASSOCSERVICE: the service drives the device.
const ASSOCIATED: u32 = 2;

fn services_of(inf: &Inf, install: &str) -> Result<Vec<Service>> {
    let section = format!("{install}.Services");
    let mut out = Vec::new();
    for line in inf.entries(&section, "AddService") {
        let (name, details) = (line.field(0), line.field(2));
        let flags = if line.field(1).is_empty() { 0 } else { number(line.number, line.field(1))? };
        // A device without a driver of its own: `AddService = ,2`.
        if name.is_empty() {
            continue;
        }
        let name = plain_name(line.number, name)?;
        if inf.section(details).is_none() {
            return Err(at_line(line.number, format!("there is no section [{}]", details.escape_debug())));
        }
        let text = |key: &str| inf.value(details, key).filter(|text| !text.is_empty());
        let dword = |key: &str| match inf.entries(details, key).next() {
            Some(line) => number(line.number, line.field(0)),
            None => Err(at_line(line.number, format!("[{details}] has no {key}"))),
        };
        let path =
            text("ServiceBinary").ok_or_else(|| at_line(line.number, format!("[{details}] has no ServiceBinary")))?;
        let (folder, binary) = path.rsplit_once('\\').unwrap_or(("", path));
        let registry = inf.entries(details, "AddReg").flat_map(|line| line.fields.iter());
        let registry: Vec<RegEdit> =
            registry.map(|section| edits(inf, line.number, section)).collect::<Result<Vec<_>>>()?.concat();
        out.push(Service {
            line: line.number,
            name: name.to_owned(),
            is_function: flags & ASSOCIATED != 0,
            kind: dword("ServiceType")?,
            start: dword("StartType")?,
            error_control: dword("ErrorControl")?,
            group: text("LoadOrderGroup").map(str::to_owned),
            binary: plain_name(line.number, binary)?.to_owned(),
            has_known_folder: [DRIVERS, PACKAGE].iter().any(|id| folder == format!("%{id}%")),
            registry,
        });
    }
    Ok(out)
}

/// Files that get another name on the machine.
fn copies(inf: &Inf, install: &str) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for line in inf.entries(install, "CopyFiles") {
        for list in line.fields.iter().filter(|list| !list.is_empty() && !list.starts_with('@')) {
            let section = inf.section(list);
            for line in section.ok_or_else(|| at_line(line.number, format!("there is no section [{list}]")))? {
                let (to, from) = (line.field(0), line.field(1));
                if !from.is_empty() {
                    plain_name(line.number, from)?;
                    out.push((to.to_ascii_lowercase(), from.to_ascii_lowercase()));
                }
            }
        }
    }
    Ok(out)
}

/// Every file that the package says it consists of.
fn files(inf: &Inf, target: &Target) -> Result<Vec<SourceFile>> {
    let own = |section: &str| [format!("{section}.{}", target.architecture.name()), section.to_owned()];
    let disks: Vec<&Line> =
        own("SourceDisksNames").iter().flat_map(|name| inf.section(name).unwrap_or_default()).collect();
    let mut out: Vec<SourceFile> = Vec::new();
    for section in own("SourceDisksFiles") {
        for line in inf.section(&section).unwrap_or_default() {
            let name = plain_name(line.number, line.key.as_deref().unwrap_or_default())?;
            let disk = disks.iter().find(|disk| disk.key.as_deref() == Some(line.field(0)));
            let disk = disk
                .ok_or_else(|| at_line(line.number, format!("there is no disk `{}`", line.field(0).escape_debug())))?;
            let path = plain_path(line.number, &format!(r"{}\{}\{name}", disk.field(3), line.field(1)))?;
            let known = |have: &SourceFile| have.path.rsplit('\\').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
            // The section of the architecture comes first, and hides the other's file of that name.
            if !out.iter().any(known) {
                out.push(SourceFile { path, line: line.number });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
