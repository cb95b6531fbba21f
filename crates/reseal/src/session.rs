//! What a step may do: read the installation and stage changes inside its scopes.
//!
//! Registry edits go to the hives in memory, file edits to the tree's overlay. A change whose before equals its after is
//! no change and is not recorded, so the second plan of a sealed image is empty.

use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result, Within};
use crate::hives::{HiveAt, HiveSet, Which};
use crate::image::DiskFacts;
use crate::inputs::{Inputs, digest};
use crate::options::Options;
use crate::scope::{MachineHive, Scope};
use crate::steps::Spec;
use crate::tree::{NewSecurity, NodeId, Survey, TreeEdit};
use crate::unattend::AnswerFile;
use crate::{Change, Facts, Target};
use reseal_dtyp::{Finding, Level};
use reseal_hive::{Hive, Value};

/// Everything a step sees.
pub(crate) struct Session<'a> {
    pub(crate) spec: &'static Spec,
    pub(crate) facts: &'a Facts,
    pub(crate) options: &'a Options,
    pub(crate) inputs: &'a Inputs,
    pub(crate) hives: &'a mut HiveSet,
    pub(crate) boot: &'a mut BootStores,
    pub(crate) disk: &'a DiskFacts,
    pub(crate) tree: &'a mut dyn TreeEdit,
    pub(crate) survey: &'a Survey,
    pub(crate) changes: &'a mut Vec<Change>,
    pub(crate) findings: &'a mut Vec<Finding>,
    /// What became of the image's recipe.
    pub(crate) recipe: &'a mut Vec<crate::rules::recipe::RecipeEntry>,
    /// Whether the step's scope is no list of places: a rule names its own, a name may stand anywhere.
    pub(crate) in_rule: bool,
    /// The machine SID step's result, for the report.
    pub(crate) sid: &'a mut Option<crate::SidOutcome>,
}

impl Session<'_> {
    /// The hive of the machine; `None` when the installation has none.
    pub(crate) fn hive(&self, which: MachineHive) -> Option<&Hive> {
        self.hives.machine(which).map(|file| &file.hive)
    }

    /// Whether specialize comes at the next start, and with it what only specialize makes.
    pub(crate) fn specialize_comes(&self) -> bool {
        let sealing = self.options.runs_by_id("setup-state") && !self.options.no_generalize;
        sealing || self.facts.setup.is_generalized()
    }

    /// A value, when hive, key and value are there.
    pub(crate) fn value(&self, which: impl Which, key: &str, name: &str) -> Result<Option<Value>> {
        let Some(file) = which.find(self.hives).map(|at| self.hives.at(at)) else { return Ok(None) };
        let read = || file.hive.key(key)?.map_or(Ok(None), |id| file.hive.value(id, name));
        read().within(&file.path).map_err(|e: Error| e.subject(key.to_owned()))
    }

    /// Names of the values of a key; empty when it is absent.
    pub(crate) fn value_names(&self, which: impl Which, key: &str) -> Result<Vec<String>> {
        let Some(file) = which.find(self.hives).map(|at| self.hives.at(at)) else { return Ok(Vec::new()) };
        let read = || -> reseal_dtyp::Result<Vec<String>> {
            let Some(id) = file.hive.key(key)? else { return Ok(Vec::new()) };
            Ok(file.hive.values(id)?.iter().map(Value::name_lossy).collect())
        };
        read().within(&file.path)
    }

    /// Names of the subkeys of a key; empty when it is absent.
    pub(crate) fn subkey_names(&self, which: impl Which, key: &str) -> Result<Vec<String>> {
        let Some(file) = which.find(self.hives).map(|at| self.hives.at(at)) else { return Ok(Vec::new()) };
        let read = || -> reseal_dtyp::Result<Vec<String>> {
            let Some(id) = file.hive.key(key)? else { return Ok(Vec::new()) };
            let names = file.hive.subkeys(id)?.into_iter().map(|child| file.hive.name(child));
            names.map(|name| name.map(|units| reseal_dtyp::utf16_lossy(&units))).collect()
        };
        read().within(&file.path)
    }

    /// Sets a value of an existing key.
    pub(crate) fn set(&mut self, which: impl Which, key: &str, name: &str, ty: u32, data: &[u8]) -> Result<()> {
        let before = self.value(which, key, name)?;
        if before.as_ref().is_some_and(|v| v.ty == ty && v.data == data) {
            return Ok(());
        }
        let now = self.inputs.now();
        let path = self.edit(which, key, |hive| {
            let Some(id) = hive.key(key)? else {
                return Err(reseal_dtyp::Error::not_found(format!("the key {key} is missing")));
            };
            hive.set_clock(Some(now));
            hive.set_value(id, name, ty, data)
        })?;
        let secret = self.is_secret(which);
        let shown = |v: &Value| show(secret, name, v);
        let after = Value { name: name.encode_utf16().collect(), ty, data: data.to_vec() };
        self.record(
            Target::Value { hive: path, key: key.to_owned(), name: name.to_owned() },
            before.as_ref().map(shown),
            Some(show(secret, name, &after)),
        );
        Ok(())
    }

    /// [`Session::set`] in any hive, where nothing changes but the computer's name.
    pub(crate) fn set_old_name(&mut self, at: HiveAt, key: &str, name: &str, ty: u32, data: &[u8]) -> Result<()> {
        self.allow(Scope::OldName)?;
        let before = std::mem::replace(&mut self.in_rule, true);
        let done = self.set(at, key, name, ty, data);
        self.in_rule = before;
        done
    }

    /// Sets a value that exists, keeping its type; an absent one is not invented.
    pub(crate) fn set_existing(&mut self, which: impl Which, key: &str, name: &str, data: &[u8]) -> Result<bool> {
        match self.value(which, key, name)? {
            Some(value) => self.set(which, key, name, value.ty, data).map(|()| true),
            None => Ok(false),
        }
    }

    /// Sets a DWORD that exists; one of another size is left and reported, since its meaning is not known.
    pub(crate) fn set_existing_u32(&mut self, which: impl Which, key: &str, name: &str, number: u32) -> Result<bool> {
        match self.value(which, key, name)? {
            Some(value) if value.data.len() == 4 => {
                self.set(which, key, name, value.ty, &number.to_le_bytes()).map(|()| true)
            }
            Some(value) => {
                let detail =
                    format!("{} bytes of type {}, a DWORD was expected: left as it is", value.data.len(), value.ty);
                self.find(
                    Level::Note,
                    "value-unexpected",
                    &format!(r"{}\{key} {name}", which.name(self.hives)),
                    detail,
                );
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Sets a string that exists.
    pub(crate) fn set_existing_text(&mut self, which: impl Which, key: &str, name: &str, text: &str) -> Result<bool> {
        self.set_existing(which, key, name, &sz(text))
    }

    /// Makes a key with the keys above it, where they are missing. For what Windows itself makes when it is told the same.
    pub(crate) fn make_key(&mut self, which: impl Which, key: &str) -> Result<()> {
        let Some(file) = which.find(self.hives).map(|at| self.hives.at(at)) else { return Ok(()) };
        let mut missing = Vec::new();
        let mut above = key;
        while !above.is_empty() && file.hive.key(above).within(&file.path)?.is_none() {
            missing.push(above.to_owned());
            above = above.rsplit_once('\\').map_or("", |(above, _)| above);
        }
        let now = self.inputs.now();
        for key in missing.into_iter().rev() {
            let path = self.edit(which, &key, |hive| {
                hive.set_clock(Some(now));
                hive.create_path(&key).map(|_| ())
            })?;
            self.record(Target::Key { hive: path, key }, None, Some("key".to_owned()));
        }
        Ok(())
    }

    /// The word for `processorArchitecture` of an answer file. What the hive says goes into XML: only known words pass.
    pub(crate) fn architecture(&self) -> Result<&'static str> {
        let stated = self.facts.product.architecture.as_deref().unwrap_or("amd64");
        let known = ["amd64", "x86", "arm64", "arm"].into_iter().find(|word| *word == stated);
        known.ok_or_else(|| {
            let stated = stated.escape_debug();
            let detail = format!("PROCESSOR_ARCHITECTURE is `{stated}`, which is no architecture of Windows");
            Error::new(Kind::Damaged, detail)
        })
    }

    /// The answer file that the user gave.
    pub(crate) fn answer_file(&self) -> Result<Option<AnswerFile>> {
        self.options.unattend.as_deref().map(AnswerFile::read).transpose()
    }

    /// The computer name to set: that of the options, or of the pass offlineServicing, which DISM would apply to an image
    /// that is not running. `Usage` when they say two names.
    pub(crate) fn computer_name(&self) -> Result<Option<String>> {
        if !self.options.runs_by_id("computer-name") {
            return Ok(None);
        }
        let (file, architecture) = (self.answer_file()?, self.architecture()?);
        let offline = file.as_ref().and_then(|file| file.offline_name(architecture));
        match (self.options.computer_name.as_deref(), offline) {
            (Some(given), Some(offline)) if !given.eq_ignore_ascii_case(offline) => {
                let detail = format!(
                    "the answer file's pass offlineServicing names the computer `{offline}`, --computer-name says `{given}`"
                );
                Err(Error::new(Kind::Usage, detail).hint("name it in one place only"))
            }
            (given, offline) => Ok(given.or(offline).map(str::to_owned)),
        }
    }

    /// Deletes a value, when it is there.
    pub(crate) fn delete_value(&mut self, which: impl Which, key: &str, name: &str) -> Result<bool> {
        let Some(before) = self.value(which, key, name)? else { return Ok(false) };
        let now = self.inputs.now();
        let path = self.edit(which, key, |hive| {
            hive.set_clock(Some(now));
            match hive.key(key)? {
                Some(id) => hive.delete_value(id, name).map(|_| ()),
                None => Ok(()),
            }
        })?;
        let target = Target::Value { hive: path, key: key.to_owned(), name: name.to_owned() };
        let shown = show(self.is_secret(which), name, &before);
        self.record(target, Some(shown), None);
        Ok(true)
    }

    /// Deletes every value of a key; the key and its subkeys stay.
    pub(crate) fn clear_values(&mut self, which: impl Which, key: &str) -> Result<()> {
        for name in self.value_names(which, key)? {
            self.delete_value(which, key, &name)?;
        }
        Ok(())
    }

    /// Deletes a key with all below it, when it is there.
    pub(crate) fn delete_key(&mut self, which: impl Which, key: &str) -> Result<bool> {
        let Some(file) = which.find(self.hives).map(|at| self.hives.at(at)) else { return Ok(false) };
        if file.hive.key(key).within(&file.path)?.is_none() {
            return Ok(false);
        }
        let path = self.edit(which, key, |hive| match hive.key(key)? {
            Some(id) => hive.delete_key(id),
            None => Ok(()),
        })?;
        self.record(Target::Key { hive: path, key: key.to_owned() }, Some("key".to_owned()), None);
        Ok(true)
    }

    /// Gives a key another name below the same parent.
    pub(crate) fn rename_key(&mut self, which: impl Which, key: &str, new_name: &str) -> Result<()> {
        let now = self.inputs.now();
        let units: Vec<u16> = new_name.encode_utf16().collect();
        let path = self.edit(which, key, |hive| {
            hive.set_clock(Some(now));
            match hive.key(key)? {
                Some(id) => hive.rename_key(id, &units).map(drop),
                None => Ok(()),
            }
        })?;
        let renamed = match key.rsplit_once('\\') {
            Some((parent, _)) => format!(r"{parent}\{new_name}"),
            None => new_name.to_owned(),
        };
        let (before, after) = (format!("key, becomes {new_name}"), format!("key, was {key}"));
        self.record(Target::Key { hive: path.clone(), key: key.to_owned() }, Some(before), None);
        self.record(Target::Key { hive: path, key: renamed }, None, Some(after));
        Ok(())
    }

    /// Runs an edit on a hive, after the scope allowed it. Returns the hive's path.
    fn edit(
        &mut self,
        which: impl Which,
        key: &str,
        edit: impl FnOnce(&mut Hive) -> reseal_dtyp::Result<()>,
    ) -> Result<String> {
        let id = self.spec.id;
        let Some(at) = which.find(self.hives) else {
            let detail = format!("step {id} needs the hive {}, which the installation lacks", which.name(self.hives));
            return Err(Error::new(Kind::NotFound, detail));
        };
        let machine = self.hives.at(at).machine;
        let covers = |scope: &Scope| machine.is_some_and(|machine| scope.covers_key(machine, key));
        if !self.in_rule && !self.spec.writes.iter().any(covers) {
            return Err(self.outside(&format!(r"{}\{key}", which.name(self.hives))));
        }
        let file = self.hives.at_mut(at);
        edit(&mut file.hive).within(key).map_err(|e| e.subject(file.path.clone()))?;
        file.edited = true;
        Ok(file.path.clone())
    }

    /// Accounts and policy are never shown.
    fn is_secret(&self, which: impl Which) -> bool {
        let machine = which.find(self.hives).and_then(|at| self.hives.at(at).machine);
        matches!(machine, Some(MachineHive::Sam | MachineHive::Security))
    }

    fn outside(&self, what: &str) -> Error {
        let detail = format!("step {} would write {what}, which is outside its scopes", self.spec.id);
        Error::new(Kind::Internal, detail).hint("this is a defect of reseal; nothing was written")
    }

    /// Writes a file by path; its folder must exist. An equal file with an equal descriptor is no change.
    pub(crate) fn write_file(&mut self, path: &str, data: &[u8], security: FileSecurity) -> Result<()> {
        self.allow_file(path)?;
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let root = self.tree.root();
        let folder_node = self.tree.resolve(root, folder).within(folder)?;
        let folder_node =
            folder_node.ok_or_else(|| Error::new(Kind::NotFound, format!("the folder {folder} is missing")))?;
        let units: Vec<u16> = name.encode_utf16().collect();
        let now = self.inputs.now();
        let existing = self.tree.lookup(folder_node, &units).within(path)?;
        let before = match existing {
            None => {
                let security = match &security {
                    FileSecurity::Sibling => NewSecurity::SameAs(self.sibling(folder_node)?),
                    FileSecurity::Descriptor(bytes) => NewSecurity::Descriptor(bytes),
                };
                self.tree.create_file(folder_node, name, data, security, now).within(path)?;
                None
            }
            Some(node) => {
                let old = self.tree.read(node).within(path)?;
                let same_security = match &security {
                    FileSecurity::Sibling => true,
                    FileSecurity::Descriptor(bytes) => self.tree.descriptor(node).within(path)? == *bytes,
                };
                if old == data && same_security {
                    return Ok(());
                }
                if let (FileSecurity::Descriptor(bytes), false) = (&security, same_security) {
                    self.tree.set_descriptor(node, bytes).within(path)?;
                }
                if old != data {
                    self.tree.replace(node, data, now).within(path)?;
                }
                Some(show_file(&old))
            }
        };
        self.record(Target::file(path), before, Some(show_file(data)));
        Ok(())
    }

    /// Makes a folder with those above it, where it is missing; each has the descriptor of the one that holds it. `NotFound`
    /// where there is not even a folder Windows.
    pub(crate) fn make_folder(&mut self, path: &str) -> Result<()> {
        let (mut above, mut done) = (self.tree.root(), String::new());
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            done = if done.is_empty() { name.to_owned() } else { format!(r"{done}\{name}") };
            let units: Vec<u16> = name.encode_utf16().collect();
            if let Some(node) = self.tree.lookup(above, &units).within(&done)? {
                above = node;
                continue;
            }
            if done == "Windows" {
                return Err(Error::new(Kind::NotFound, "the folder Windows is missing"));
            }
            self.allow_file(&done)?;
            let now = self.inputs.now();
            above = self.tree.create_dir(above, name, NewSecurity::SameAs(above), now).within(&done)?;
            self.record(Target::file(&done), None, Some("folder".to_owned()));
        }
        Ok(())
    }

    /// [`Session::make_folder`] for the folder of a file.
    pub(crate) fn make_folder_of(&mut self, file: &str) -> Result<()> {
        self.make_folder(file.rsplit_once('\\').map_or("", |(above, _)| above))
    }

    /// Replaces the content of a file, wherever it lies, of which only SIDs differ. `false`, with nothing changed, when the volume
    /// stores it in a way that cannot be written.
    pub(crate) fn replace_sids(&mut self, path: &str, node: NodeId, old: &[u8], new: &[u8]) -> Result<bool> {
        self.allow(Scope::SidsInFiles)?;
        match self.tree.replace(node, new, self.inputs.now()) {
            Ok(()) => {}
            Err(e) if e.kind() == reseal_dtyp::Kind::Unsupported => {
                self.find(Level::Inconsistent, "file-left", path, format!("it holds the old SID, and {e}"));
                return Ok(false);
            }
            Err(e) => return Err(e).within(path),
        }
        self.record(Target::file(path), Some(show_file(old)), Some(show_file(new)));
        Ok(true)
    }

    /// A file of the folder whose descriptor a new one takes over; the folder itself when it holds no file.
    fn sibling(&self, folder: NodeId) -> Result<NodeId> {
        let entries = self.tree.entries(folder)?;
        Ok(entries.iter().find(|e| !e.is_dir && !e.is_reparse).map_or(folder, |e| e.node))
    }

    /// Moves a file to another path, whose folder must exist and hold no such name. `Unsupported`, with nothing changed, for
    /// one that has several names.
    pub(crate) fn move_file(&mut self, from: &str, node: NodeId, to: &str) -> Result<()> {
        self.allow_file(from)?;
        self.allow_file(to)?;
        let (folder, name) = to.rsplit_once('\\').unwrap_or(("", to));
        let above = self.tree.resolve(self.tree.root(), folder).within(folder)?;
        let above = above.ok_or_else(|| Error::new(Kind::NotFound, format!("the folder {folder} is missing")))?;
        self.tree.move_to(node, above, name, self.inputs.now()).within(from)?;
        self.record(Target::file(from), Some(format!(r"\{from}")), Some(format!(r"\{to}")));
        Ok(())
    }

    /// Removes a file with all its names.
    pub(crate) fn remove_file(&mut self, path: &str, node: NodeId) -> Result<()> {
        self.allow_file(path)?;
        let size = self.tree.size(node).within(path)?;
        self.tree.remove(node, self.inputs.now()).within(path)?;
        self.hives.forget_below(path);
        self.record(Target::file(path), Some(format!("file of {size} bytes")), None);
        Ok(())
    }

    /// Removes a folder with all in it.
    pub(crate) fn remove_folder(&mut self, path: &str, node: NodeId) -> Result<()> {
        self.allow_file(path)?;
        let removed = self.tree.remove_tree(node, self.inputs.now()).within(path)?;
        self.hives.forget_below(path);
        self.record(Target::folder(path), Some(format!("folder with {removed} files")), None);
        Ok(())
    }

    fn allow_file(&self, path: &str) -> Result<()> {
        if self.in_rule || self.spec.writes.iter().any(|scope| scope.covers_file(path)) {
            Ok(())
        } else {
            Err(self.outside(path))
        }
    }

    /// Whether the step may write there, wherever in the installation it is.
    pub(crate) fn allow(&self, scope: Scope) -> Result<()> {
        if self.spec.writes.contains(&scope) { Ok(()) } else { Err(self.outside(&scope.to_string())) }
    }

    /// Records a change of this step.
    pub(crate) fn record(&mut self, target: Target, before: Option<String>, after: Option<String>) {
        self.changes.push(Change { step: self.spec.id, target, before, after });
    }

    /// Adds a finding.
    pub(crate) fn find(&mut self, level: Level, id: &'static str, place: &str, detail: impl Into<String>) {
        self.findings.push(Finding::new(level, id, place, detail));
    }
}

/// Whose descriptor a written file gets.
pub(crate) enum FileSecurity {
    /// That of a file in the same folder; an existing file keeps its own.
    Sibling,
    /// This one.
    Descriptor(Vec<u8>),
}

/// REG_SZ data.
pub(crate) fn sz(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Value names whose data is nobody's business, wherever they stand.
const SECRET_NAMES: &[&str] = &["seed", "password", "secret", "token", "key", "credential"];

/// A value for people. Accounts, policy, random state and what is named like a secret: length and digest only.
fn show(secret: bool, name: &str, value: &Value) -> String {
    let name = name.to_ascii_lowercase();
    let secret = secret || SECRET_NAMES.iter().any(|word| name.contains(word));
    let hidden = || format!("{} bytes, sha256 {}…", value.data.len(), digest(&value.data));
    if secret {
        return hidden();
    }
    if let Some(text) = value.as_text() {
        return format!("\"{text}\"");
    }
    if let Some(lines) = value.as_multi_text() {
        return format!("{lines:?}");
    }
    if let (4, Some(number)) = (value.data.len(), value.as_u32()) {
        return number.to_string();
    }
    if value.data.len() <= 24 { value.data.iter().map(|b| format!("{b:02x}")).collect() } else { hidden() }
}

fn show_file(data: &[u8]) -> String {
    if data.is_empty() {
        "empty file".to_owned()
    } else {
        format!("file of {} bytes, sha256 {}…", data.len(), digest(data))
    }
}
