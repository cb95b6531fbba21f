//! The recipe that ships in the image: `Windows\System32\Sysprep\ActionFiles\Generalize.xml`.
//!
//! ```text
//! sysprepInformation
//! └─ imaging exclude="modes"
//!    ├─ assemblyIdentity name=… processorArchitecture=amd64|wow64|x86
//!    ├─ sysprepOrder order=0x1400
//!    ├─ sysprepModule, sysprepValidate  moduleName=… methodName=…      an entry of a DLL: one of our steps does its work
//!    ├─ registryActions: deleteKey, deleteValue, setValue              carried out as rules
//!    └─ fileActions: deleteFile, deleteDirectory                       carried out as rules
//! ```

use super::Action;
use crate::error::{Error, Kind, Result};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::Serialize;
use std::fmt;

/// Stated limits: real files have 64 nodes in 31 KB.
pub(crate) const MAX_BYTES: usize = 4 << 20;
const MAX_NODES: usize = 4096;

/// What one node wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    DeleteKey(String),
    DeleteValue(String, String),
    PutDword(String, String, u32),
    DeleteFile(String),
    DeleteFolder(String),
    /// Module without its folder in small letters, `!`, entry.
    Entry(String),
    /// The same, which only looks.
    Validation(String),
    /// A verb that is not known, or not with this type.
    Unknown(String),
}

/// A node of the recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) order: u32,
    pub(crate) component: String,
    pub(crate) architecture: String,
    /// Modes of Sysprep in which the node is left: `vm`.
    pub(crate) exclude: Vec<String>,
    pub(crate) work: Vec<Work>,
}

/// What became of one thing that the recipe wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipeEntry {
    /// Generalize.xml, Cleanup.xml or Specialize.xml.
    pub file: &'static str,
    /// Sysprep's order.
    pub order: u32,
    /// The component that wants it.
    pub component: String,
    /// What it wants.
    pub wants: String,
    /// done, step, guard, left, or unknown; of Specialize.xml `first start`, since setup carries it out then.
    pub outcome: &'static str,
    /// Which step or guard, or why it is left; of Specialize.xml what became of its twin in Generalize.xml.
    pub by: String,
}

impl Work {
    /// As a rule, where it is one.
    pub(crate) fn action(&self) -> Option<Action<'_>> {
        match self {
            Work::DeleteKey(key) => Some(Action::DeleteKey(key)),
            Work::DeleteValue(key, name) => Some(Action::DeleteValue(key, name)),
            Work::PutDword(key, name, number) => Some(Action::PutDword(key, name, *number)),
            Work::DeleteFile(path) => Some(Action::DeleteFile(path)),
            Work::DeleteFolder(path) => Some(Action::DeleteFolder(path)),
            Work::Entry(_) | Work::Validation(_) | Work::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action(), self) {
            (Some(action), _) => action.fmt(f),
            (None, Work::Entry(name) | Work::Unknown(name)) => f.write_str(name),
            (None, Work::Validation(name)) => write!(f, "{name} (validation)"),
            (None, _) => Ok(()),
        }
    }
}

/// Reads a recipe, in the order of execution. `Damaged` when it is no recipe.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Node>> {
    let bad = |detail: String| Error::new(Kind::Damaged, format!("the recipe cannot be read: {detail}"));
    if bytes.len() > MAX_BYTES {
        return Err(bad(format!("{} bytes, at most {MAX_BYTES}", bytes.len())));
    }
    let text = crate::unattend::decode(bytes)?;
    let mut reader = Reader::from_str(&text);
    let (mut nodes, mut node, mut root) = (Vec::new(), None::<Node>, false);
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|e| bad(format!("at byte {at}: {e}")))?;
        let tag = match &event {
            Event::Start(tag) | Event::Empty(tag) => Some(tag),
            _ => None,
        };
        if let Some(tag) = tag {
            match (tag.local_name().as_ref(), &mut node) {
                (b"sysprepInformation", _) => root = true,
                (b"imaging", open) => *open = Some(Node { exclude: modes(tag), ..Node::default() }),
                (_, Some(node)) => element(tag, node).map_err(|e| bad(format!("at byte {at}: {e}")))?,
                _ => {}
            }
        }
        let ends = match &event {
            Event::End(tag) => tag.local_name().as_ref() == b"imaging",
            Event::Empty(tag) => tag.local_name().as_ref() == b"imaging",
            Event::Eof => break,
            _ => false,
        };
        if ends {
            nodes.extend(node.take());
            if nodes.len() > MAX_NODES {
                return Err(bad(format!("more than {MAX_NODES} nodes")));
            }
        }
    }
    if !root {
        return Err(bad("there is no element `sysprepInformation`".to_owned()));
    }
    nodes.sort_by_key(|node| node.order);
    Ok(nodes)
}

/// The words of `exclude`; how several are told apart is not documented, so anything between words does.
fn modes(tag: &BytesStart<'_>) -> Vec<String> {
    let value = tag.try_get_attribute("exclude").ok().flatten();
    let value = value.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()).unwrap_or_default();
    value.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn element(tag: &BytesStart<'_>, node: &mut Node) -> std::result::Result<(), String> {
    let attribute = |name: &str| -> std::result::Result<Option<String>, String> {
        let found = tag.try_get_attribute(name).map_err(|e| e.to_string())?;
        found.map(|a| a.unescape_value().map(|v| v.into_owned()).map_err(|e| e.to_string())).transpose()
    };
    let needed = |name: &str| attribute(name)?.ok_or_else(|| format!("an attribute `{name}` is missing"));
    let kind = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
    match kind.as_str() {
        "assemblyIdentity" => {
            (node.component, node.architecture) =
                (needed("name")?, attribute("processorArchitecture")?.unwrap_or_default());
        }
        "sysprepOrder" => {
            let text = needed("order")?;
            node.order = number(&text).ok_or_else(|| format!("`{text}` is no order"))?;
        }
        "sysprepModule" => node.work.push(Work::Entry(entry(&needed("moduleName")?, &needed("methodName")?))),
        "sysprepValidate" => node.work.push(Work::Validation(entry(&needed("moduleName")?, &needed("methodName")?))),
        "deleteKey" => node.work.push(Work::DeleteKey(needed("path")?)),
        "deleteValue" => node.work.push(Work::DeleteValue(needed("path")?, needed("name")?)),
        "setValue" => {
            let (path, name, ty, value) = (needed("path")?, needed("name")?, needed("type")?, needed("value")?);
            let dword = number(&value).filter(|_| ty == "REG_DWORD");
            node.work.push(match dword {
                Some(value) => Work::PutDword(path, name, value),
                None => Work::Unknown(format!("setValue {path} → {name} of type {ty}")),
            });
        }
        "deleteFile" => node.work.push(Work::DeleteFile(needed("path")?)),
        "deleteDirectory" => node.work.push(Work::DeleteFolder(needed("path")?)),
        "registryActions" | "fileActions" => {}
        other => node.work.push(Work::Unknown(other.to_owned())),
    }
    Ok(())
}

/// `0x1400` or `1`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A DLL entry in the form in which steps name what they mirror.
pub(crate) fn entry(module: &str, method: &str) -> String {
    let file = module.rsplit(['\\', '/']).next().unwrap_or(module);
    format!("{}!{method}", file.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"<sysprepInformation><imaging exclude="vm"><assemblyIdentity name="B" processorArchitecture="amd64"/>
        <sysprepOrder order="0x0200"/><sysprepModule methodName="Go" moduleName="$(runtime.system32)\setup\X.dll"/></imaging>
        <imaging exclude=""><assemblyIdentity name="A" processorArchitecture="amd64"/><sysprepOrder order="0x0100"></sysprepOrder>
        <registryActions><setValue name="n" path="HKEY_LOCAL_MACHINE\SYSTEM\a" type="REG_DWORD" value="0x8002"/>
        <setValue name="n" path="HKEY_LOCAL_MACHINE\SYSTEM\a" type="REG_SZ" value="x"/></registryActions>
        <fileActions><deleteDirectory path="$(runtime.windows)\a &amp; b"/></fileActions><newVerb/></imaging></sysprepInformation>"#;

    #[test]
    fn nodes_in_order() {
        let nodes = parse(SMALL.as_bytes()).unwrap();
        assert_eq!(nodes.iter().map(|n| n.component.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        let key = r"HKEY_LOCAL_MACHINE\SYSTEM\a".to_owned();
        assert_eq!(nodes[0].work[0], Work::PutDword(key, "n".into(), 0x8002));
        assert!(matches!(&nodes[0].work[1], Work::Unknown(what) if what.contains("REG_SZ")));
        assert_eq!(nodes[0].work[2], Work::DeleteFolder(r"$(runtime.windows)\a & b".into()));
        assert_eq!(nodes[0].work[3], Work::Unknown("newVerb".into()));
        assert_eq!(nodes[1].work, [Work::Entry("x.dll!Go".into())]);
        assert_eq!((nodes[0].exclude.len(), nodes[1].exclude.concat()), (0, "vm".to_owned()));
    }

    #[test]
    fn what_is_no_recipe_is_refused() {
        for bad in [
            "",
            "<x/>",
            "<sysprepInformation><imaging>",
            "<sysprepInformation><imaging><sysprepOrder order=\"many\"/></imaging></sysprepInformation>",
            "<sysprepInformation><imaging><deleteKey/></imaging></sysprepInformation>",
            "<sysprepInformation></imaging>",
        ] {
            let outcome = parse(bad.as_bytes());
            // An element that is not closed ends with the file: what was complete counts.
            assert!(outcome.is_err() || outcome.is_ok_and(|nodes| nodes.is_empty()), "{bad}");
        }
        let whole = parse(SMALL.as_bytes()).unwrap();
        for cut in 0..SMALL.len() {
            if let Ok(nodes) = parse(&SMALL.as_bytes()[..cut]) {
                assert!(nodes.len() <= whole.len());
            }
        }
    }
}
