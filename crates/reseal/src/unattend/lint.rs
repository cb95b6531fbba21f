//! What is wrong with an answer file, before a machine finds out.

use super::rules::{COMMANDS, COMPONENTS, PASSES, RULES, Rule, Value};
use super::xml::Element;
use super::{AnswerFile, DELETED, DEPLOYMENT, NAMESPACE, SHELL_SETUP};
use crate::error::{Error, Kind, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use std::collections::BTreeMap;

/// How much a complaint weighs, from the lightest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// Worth knowing.
    Note,
    /// It will not do what it seems to say.
    Warning,
    /// Setup stops at it, ignores the file, or never ends.
    Error,
}

impl Gravity {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Gravity::Note => "note",
            Gravity::Warning => "warning",
            Gravity::Error => "error",
        }
    }
}

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Complaint {
    /// Line of the file, from 1.
    pub line: usize,
    /// How much it weighs.
    pub gravity: Gravity,
    /// Stable id of the rule.
    pub id: &'static str,
    /// What is wrong, and what is needed.
    pub detail: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}: {} [{}]", self.line, self.gravity.name(), self.detail, self.id)
    }
}

/// The machine that shall use the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct LintFor<'a> {
    /// amd64, x86, arm64; unknown when not given.
    pub architecture: Option<&'a str>,
    /// Whether it is a server; unknown when not given.
    pub server: Option<bool>,
}

/// Every complaint about an answer file, in the order of its lines. `Usage` when it is no answer file.
pub fn lint_answer_file(bytes: &[u8], machine: LintFor<'_>) -> Result<Vec<Complaint>> {
    Ok(lint(&AnswerFile::read(bytes)?, machine))
}

/// `Usage`, with all of them, when complaints hold an error.
pub(crate) fn refuse_errors(complaints: &[Complaint]) -> Result<()> {
    let errors: Vec<String> =
        complaints.iter().filter(|c| c.gravity == Gravity::Error).map(|c| format!("\n  {c}")).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let detail = format!("the answer file is wrong in {} places:{}", errors.len(), errors.concat());
    Err(Error::new(Kind::Usage, detail).hint("correct it, and look again with `reseal unattend FILE`"))
}

/// Every complaint, in the order of the lines.
pub(crate) fn lint(file: &AnswerFile, machine: LintFor<'_>) -> Vec<Complaint> {
    let mut lint = Lint { machine, found: Vec::new() };
    for child in file.root.children.iter().filter(|child| child.namespace == NAMESPACE) {
        match child.name.as_str() {
            "settings" => lint.settings(child),
            "servicing" => lint.note(child, "offline", "packages are applied by DISM and setup, not here"),
            other => lint.error(child, "structure", format!("<{other}> is no part of an answer file; <settings> is")),
        }
    }
    lint.architecture(file);
    lint.passes(file);
    lint.accounts(file);
    file.root.walk(&mut |element| {
        if element.text == DELETED {
            let detail =
                format!("{} was deleted by setup: the file was taken from a machine that used it", element.name);
            lint.error(element, "deleted-password", detail);
        }
    });
    lint.found.sort();
    lint.found.dedup();
    lint.found
}

struct Lint<'a> {
    machine: LintFor<'a>,
    found: Vec<Complaint>,
}

impl Lint<'_> {
    fn add(&mut self, element: &Element, gravity: Gravity, id: &'static str, detail: impl Into<String>) {
        self.found.push(Complaint { line: element.line, gravity, id, detail: detail.into() });
    }

    fn error(&mut self, element: &Element, id: &'static str, detail: impl Into<String>) {
        self.add(element, Gravity::Error, id, detail);
    }

    fn warn(&mut self, element: &Element, id: &'static str, detail: impl Into<String>) {
        self.add(element, Gravity::Warning, id, detail);
    }

    fn note(&mut self, element: &Element, id: &'static str, detail: impl Into<String>) {
        self.add(element, Gravity::Note, id, detail);
    }

    /// One `settings` element.
    fn settings(&mut self, settings: &Element) {
        let Some(pass) = settings.attribute("pass") else {
            return self.error(settings, "pass", "<settings> has no attribute `pass`");
        };
        if !PASSES.contains(&pass) {
            let near = PASSES.iter().find(|known| known.eq_ignore_ascii_case(pass));
            let hint =
                near.map_or_else(|| format!("passes are {}", PASSES.join(", ")), |n| format!("it is written {n}"));
            return self.error(settings, "pass", format!("there is no pass `{pass}`: {hint}"));
        }
        let mut seen: Vec<(String, String)> = Vec::new();
        for component in settings.children.iter().filter(|child| child.namespace == NAMESPACE) {
            if component.name != "component" {
                let detail = format!("<{}> stands directly in <settings>, where only <component> does", component.name);
                self.error(component, "structure", detail);
                continue;
            }
            let Some((name, architecture)) = self.identity(component) else { continue };
            let key = (name.to_ascii_lowercase(), architecture.to_ascii_lowercase());
            if seen.contains(&key) {
                self.warn(component, "twice", format!("{name} for {architecture} stands twice in the pass {pass}"));
            }
            seen.push(key);
            self.component(pass, name, component);
        }
    }

    /// Name and architecture of a component, when it has all that makes one.
    fn identity<'e>(&mut self, component: &'e Element) -> Option<(&'e str, &'e str)> {
        let needed = ["name", "processorArchitecture", "publicKeyToken", "language", "versionScope"];
        let missing: Vec<&str> =
            needed.into_iter().filter(|name| component.attribute(name).is_none_or(str::is_empty)).collect();
        if !missing.is_empty() {
            let detail = format!("a component without the attributes `{}` is not found by setup", missing.join("`, `"));
            self.error(component, "component", detail);
        }
        let (name, architecture) = (component.attribute("name")?, component.attribute("processorArchitecture")?);
        if missing.is_empty()
            && !["amd64", "x86", "arm64", "arm", "wow64", "ia64"].contains(&architecture.to_ascii_lowercase().as_str())
        {
            let detail = format!("there is no architecture `{architecture}`: amd64, x86 or arm64 is needed");
            self.error(component, "component", detail);
            return None;
        }
        Some((name, architecture))
    }

    fn component(&mut self, pass: &str, name: &str, component: &Element) {
        if let Some((_, passes)) = COMPONENTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
            && !passes.contains(&pass)
        {
            let detail = format!("{name} does nothing in the pass {pass}: it belongs in {}", passes.join(" or "));
            self.warn(component, "wrong-pass", detail);
        }
        let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.component.eq_ignore_ascii_case(name)).collect();
        for rule in rules {
            let mut found = Vec::new();
            reach(component, rule.path, &mut found);
            for element in &found {
                self.rule(pass, rule, element);
            }
            // What says one thing stands once; commands and accounts are lists.
            if let ([_, second, ..], 1) = (&found[..], rule.path.len()) {
                self.error(second, "twice", format!("{} stands twice in {name}", second.name));
            }
        }
        component.walk(&mut |element| self.commands(pass, element));
    }

    fn rule(&mut self, pass: &str, rule: &Rule, element: &Element) {
        if !rule.passes.is_empty() && !rule.passes.contains(&pass) {
            let detail =
                format!("{} does nothing in the pass {pass}: it belongs in {}", element.name, rule.passes.join(" or "));
            self.warn(element, "wrong-pass", detail);
        }
        if let Some(fault) = rule.value.fault(&element.text) {
            let shown = if rule.value.may_be_shown() && !element.text.is_empty() && element.text.len() <= 64 {
                format!("{} is `{}`: {fault}", element.name, element.text)
            } else {
                format!("{}: {fault}", element.name)
            };
            self.error(
                element,
                if matches!(rule.value, Value::ComputerName) { "computer-name" } else { "value" },
                shown,
            );
        }
    }

    /// The commands of a list.
    fn commands(&mut self, pass: &str, list: &Element) {
        for (name, what) in COMMANDS {
            let mut orders: BTreeMap<&str, usize> = BTreeMap::new();
            for command in list.all(name) {
                match command.child(what) {
                    None => self.error(command, "command", format!("<{name}> has no <{what}>: nothing would run")),
                    Some(line) => self.command_line(pass, line),
                }
                let Some(order) = command.child("Order") else {
                    self.error(command, "command", format!("<{name}> has no <Order>"));
                    continue;
                };
                if let Some(first) = orders.insert(&order.text, order.line) {
                    let detail = format!("Order {} stands twice in {}, also in line {first}", order.text, list.name);
                    self.error(order, "command", detail);
                }
            }
        }
    }

    fn command_line(&mut self, pass: &str, line: &Element) {
        let text = line.text.to_ascii_lowercase();
        if text.contains("sysprep.exe") || text.contains(r"\sysprep\sysprep ") {
            let detail = "a command that starts Sysprep is not supported; the setting Generalize of Microsoft-Windows-Deployment is";
            self.warn(line, "starts-sysprep", detail);
        }
        let restarts =
            text.contains("shutdown") && ["/r", "-r", "/s", "-s"].iter().any(|o| text.contains(&format!(" {o}")));
        if restarts && matches!(pass, "specialize" | "auditUser") {
            self.warn(
                line,
                "restarts",
                format!("a restart in the pass {pass} breaks setup off; WillReboot is for that"),
            );
        }
    }

    /// Whether anything in it is for this machine.
    fn architecture(&mut self, file: &AnswerFile) {
        let Some(machine) = self.machine.architecture else { return };
        let components = || file.root.all("settings").flat_map(|settings| settings.all("component"));
        let is_for = |component: &&Element| {
            component.attribute("processorArchitecture").is_none_or(|a| a.eq_ignore_ascii_case(machine))
        };
        if let Some(first) = components().next()
            && !components().any(|component| is_for(&component))
        {
            let others = first.attribute("processorArchitecture").unwrap_or_default();
            let detail = format!("every component is for another architecture ({others}), this Windows is {machine}");
            return self.error(first, "architecture", detail);
        }
        for settings in file.root.all("settings") {
            let pass = settings.attribute("pass").unwrap_or_default();
            if let Some(first) = settings.child("component")
                && !settings.all("component").any(|component| is_for(&component))
            {
                self.warn(
                    first,
                    "architecture",
                    format!("nothing in the pass {pass} is for {machine}: it does nothing"),
                );
            }
        }
    }

    /// Passes that do not come in an image that is sealed while it is not running, and loops.
    fn passes(&mut self, file: &AnswerFile) {
        for settings in file.root.all("settings") {
            let pass = settings.attribute("pass").unwrap_or_default();
            for component in settings.all("component") {
                let name = component.attribute("name").unwrap_or_default();
                let detail = |why: &str| format!("{name} in the pass {pass}: {why}");
                match pass {
                    "windowsPE" => {
                        self.note(component, "offline", detail("setup from a medium runs it, a sealed image does not"))
                    }
                    "generalize" if !HONOURED.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                        self.warn(
                            component,
                            "offline",
                            detail("this pass never runs, since the image is sealed while it is not running"),
                        );
                    }
                    "offlineServicing"
                        if component.children.iter().any(|c| name != SHELL_SETUP || c.name != "ComputerName") =>
                    {
                        self.warn(
                            component,
                            "offline",
                            detail(
                                "apply it with `DISM /Apply-Unattend`; of this pass only ComputerName is applied here",
                            ),
                        );
                    }
                    _ => {}
                }
                if pass == "oobeSystem" && name.eq_ignore_ascii_case(DEPLOYMENT) {
                    self.reseal(component);
                }
            }
        }
    }

    fn reseal(&mut self, component: &Element) {
        let says = |name: &str, text: &str| {
            component.at(&["Reseal", name]).is_some_and(|element| element.text.eq_ignore_ascii_case(text))
        };
        let Some(reseal) = component.child("Reseal") else { return };
        if says("Mode", "OOBE") && says("ForceShutdownNow", "true") {
            let detail = "Reseal to OOBE with ForceShutdownNow in oobeSystem: the machine shuts down at every start and never ends OOBE";
            self.error(reseal, "loop", detail);
        } else if says("Mode", "Audit") {
            self.note(reseal, "audit", "the machine starts audit mode instead of OOBE, until this setting is gone");
        }
    }

    /// Accounts, passwords, and who can sign in.
    fn accounts(&mut self, file: &AnswerFile) {
        let shells = |pass| {
            let shell = |c: &&Element| c.attribute("name").is_some_and(|n| n.eq_ignore_ascii_case(SHELL_SETUP));
            file.pass(pass).flat_map(|settings| settings.all("component")).filter(shell)
        };
        for shell in shells("oobeSystem") {
            if self.machine.server == Some(true) && shell.at(&["UserAccounts", "AdministratorPassword"]).is_none() {
                self.warn(
                    shell,
                    "administrator",
                    "a server without AdministratorPassword stops in OOBE and asks for it",
                );
            }
        }
        for pass in ["oobeSystem", "auditSystem", "specialize"] {
            for shell in shells(pass) {
                shell.walk(&mut |element| self.password(element));
                if let Some(logon) = shell.child("AutoLogon") {
                    let enabled = logon.child("Enabled").is_some_and(|e| matches!(e.text.as_str(), "true" | "1"));
                    if enabled && logon.child("Username").is_none_or(|name| name.text.is_empty()) {
                        self.error(logon, "autologon", "AutoLogon is enabled and names no Username");
                    }
                }
            }
        }
    }

    /// A hidden password is the base64 form of UTF-16 text that ends in the element's name.
    fn password(&mut self, element: &Element) {
        if !matches!(element.name.as_str(), "Password" | "AdministratorPassword") {
            return;
        }
        let Some(value) = element.child("Value") else {
            if element.text.is_empty() {
                self.error(element, "password", format!("{} has no <Value>", element.name));
            }
            return;
        };
        let hidden = element.child("PlainText").is_some_and(|plain| plain.text.eq_ignore_ascii_case("false"));
        if !hidden || value.text == DELETED {
            return;
        }
        match hidden_text(&value.text) {
            None => self.error(
                value,
                "password",
                format!("PlainText is false, and the Value of {} is no base64 of UTF-16 text", element.name),
            ),
            Some(text) if !text.ends_with(&element.name) => {
                let detail =
                    format!("the hidden Value does not end in `{}`, as setup's own tool writes it", element.name);
                self.warn(value, "password", detail);
            }
            Some(_) => {}
        }
    }
}

/// Components whose settings of the generalize pass are carried out here.
const HONOURED: &[&str] = &["Microsoft-Windows-PnpSysprep", "Microsoft-Windows-Security-SPP"];

/// Every element that a path of names leads to.
fn reach<'e>(from: &'e Element, path: &[&str], out: &mut Vec<&'e Element>) {
    match path {
        [] => out.push(from),
        [name, rest @ ..] => {
            from.children.iter().filter(|c| *name == "*" || c.name == *name).for_each(|c| reach(c, rest, out));
        }
    }
}

/// The text behind base64 of UTF-16LE.
fn hidden_text(base64: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(base64).ok().filter(|bytes| bytes.len() % 2 == 0)?;
    String::from_utf16(&reseal_dtyp::from_utf16le(&bytes)).ok()
}
