use super::{Evidence, STEPS, Spec, Step};
use crate::error::{Result, Within};
use crate::rules::recipe::{self, Node, RecipeEntry, Work};
use crate::scope::Scope;
use crate::session::Session;
use crate::tree::Tree;
use reseal_dtyp::Level;

/// Carries out the image's own recipe.
pub(super) struct Recipe;

const FOLDER: &str = r"Windows\System32\Sysprep\ActionFiles";
const GENERALIZE: &str = "Generalize.xml";
/// What Sysprep carries out before, and what setup does at the next start: both are read, to be told in the report.
const CLEANUP: &str = "Cleanup.xml";
const SPECIALIZE: &str = "Specialize.xml";

static SPEC: Spec = Spec {
    id: "recipe",
    title: "Carry out the recipe that the image brings along",
    about: "Sysprep's recipe ships in every Windows: ActionFiles\\Generalize.xml lists, in order, what each component wants. \
            What it says in so many words (values, keys, files to remove, values to set) is carried out; an entry of a DLL \
            is matched with the step that does its work. The report lists every node with its outcome; one that nobody \
            knows is a finding, which --strict refuses.",
    phase: "traces",
    mirrors: &["sysprep.exe /generalize"],
    evidence: Evidence::Confirmed,
    unproven: "nodes of builds from 22H2 on that no step answers",
    writes: &[Scope::Rules],
    ..Spec::BASE
};

/// DLL entries that no step answers, what becomes of them, and why.
const OTHERS: &[(&str, &str, &str)] = &[
    ("bdesysprep.dll!ValidateBitLockerState", "guard", "bitlocker"),
    ("appxsysprep.dll!SysprepGeneralizeValidate", "guard", "apps of single users are no obstacle here"),
    ("appxsysprep.dll!SysprepGeneralize", "left", "apps of users stay registered"),
    ("srclient.dll!SysprepGeneralize", "guard", "snapshots"),
    (
        "spbcd.dll!Sysprep_Generalize_Bcd",
        "left",
        "a copied disk keeps its identifiers and boots; --boot generalize asks for it",
    ),
    (
        "reagent.dll!WinRE_Generalize",
        "left",
        "a disk image keeps its recovery environment; --steps +recovery-environment asks for it",
    ),
    ("iissyspr.dll!IIS_Generalize", "left", "keys of IIS stay"),
    ("tssysprep.dll!LSMSysPrepBackup", "left", "nothing to do offline: no session is open"),
    ("spcompat.dll!Sysprep_Generalize_Compat", "left", "the cache of AppCompat stays"),
    ("powrprof.dll!PowerGeneralizePlatformSettings", "left", "power settings stay"),
    ("spopk.dll!Sysprep_Clean_Validate_Opk", "guard", "pending-servicing"),
];

impl Step for Recipe {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let nodes = match read(session, GENERALIZE)? {
            Ok(nodes) => nodes,
            Err(why) => return Ok(Some(why)),
        };
        // What stands there for the 32-bit view as well is one thing, and done once.
        let (narrow, wide): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(|node| node.architecture == "wow64");
        for node in wide.into_iter().chain(narrow) {
            for work in &node.work {
                if session.recipe.iter().any(|e| e.order == node.order && e.wants == work.to_string()) {
                    continue;
                }
                let entry = carry_out(session, node, work)?;
                if entry.outcome == "unknown" {
                    let detail = format!("{} wants {}: {}", entry.component, entry.wants, entry.by);
                    session.find(Level::Note, "recipe-unknown", &place(GENERALIZE), detail);
                }
                session.recipe.push(entry);
            }
        }
        session.recipe.sort_by_key(|entry| entry.order);
        others(session)?;
        let count =
            |outcome: &str| session.recipe.iter().filter(|e| e.file == GENERALIZE && e.outcome == outcome).count();
        Ok(Some(format!(
            "{} done, {} by steps, {} by guards, {} left, {} unknown",
            count("done"),
            count("step"),
            count("guard"),
            count("left"),
            count("unknown")
        )))
    }
}

fn place(file: &str) -> String {
    format!(r"{FOLDER}\{file}")
}

fn entry(file: &'static str, node: &Node, work: &Work, outcome: &'static str, by: String) -> RecipeEntry {
    RecipeEntry { file, order: node.order, component: node.component.clone(), wants: work.to_string(), outcome, by }
}

/// The nodes of an action file, or why there are none.
fn read(session: &mut Session<'_>, file: &str) -> Result<std::result::Result<Vec<Node>, String>> {
    let path = place(file);
    let tree: &dyn Tree = session.tree;
    let Some(node) = tree.resolve(tree.root(), &path).within(&path)? else {
        return Ok(Err("the image has no recipe".to_owned()));
    };
    if tree.size(node).within(&path)? > recipe::MAX_BYTES as u64 {
        session.find(Level::Note, "recipe-unreadable", &path, "it is larger than any recipe");
        return Ok(Err("the recipe is too large".to_owned()));
    }
    Ok(recipe::parse(&tree.read(node).within(&path)?).map_err(|error| {
        session.find(Level::Note, "recipe-unreadable", &path, error.to_string());
        "the recipe cannot be read".to_owned()
    }))
}

/// What the two other files say. An entry of specialize is paired with what the same module wanted of generalize: some restore
/// what their twin has saved.
fn others(session: &mut Session<'_>) -> Result<()> {
    let mut told = Vec::new();
    for node in read(session, CLEANUP)?.unwrap_or_default() {
        for work in &node.work {
            let (outcome, by) = match work {
                Work::Entry(name) | Work::Validation(name) => answer(session, name),
                _ => ("left", "Sysprep's cleanup before generalizing is read only".to_owned()),
            };
            told.push(entry(CLEANUP, &node, work, outcome, by));
        }
    }
    for node in read(session, SPECIALIZE)?.unwrap_or_default() {
        for work in &node.work {
            let module = |wants: &str| wants.split_once('!').map(|(module, _)| module.to_ascii_lowercase());
            let own = module(&work.to_string());
            let twins = session.recipe.iter().filter(|e| own.is_some() && module(&e.wants) == own);
            let twins: Vec<String> = twins.map(|e| format!("{}: {} {}", e.wants, e.outcome, e.by)).collect();
            let by = if twins.is_empty() { "no twin in Generalize.xml".to_owned() } else { twins.join("; ") };
            told.push(entry(SPECIALIZE, &node, work, "first start", by));
        }
    }
    session.recipe.extend(told);
    Ok(())
}

fn carry_out(session: &mut Session<'_>, node: &Node, work: &Work) -> Result<RecipeEntry> {
    let (outcome, by) = match work {
        _ if session.options.vm_mode && node.exclude.iter().any(|mode| mode.eq_ignore_ascii_case("vm")) => {
            ("left", "not meant for virtual machines (--mode vm)".to_owned())
        }
        Work::Entry(name) | Work::Validation(name) => answer(session, name),
        Work::Unknown(_) => ("unknown", "the verb is not known".to_owned()),
        _ => match work.action() {
            None => ("unknown", "it is no rule".to_owned()),
            Some(action) => match action.check() {
                Err(error) => ("unknown", error.to_string()),
                // The 32-bit view of the registry has places of its own, which no real recipe names.
                Ok(()) if node.architecture == "wow64" => ("left", "meant for the 32-bit view".to_owned()),
                Ok(()) => {
                    crate::rules::run(session, &[action])?;
                    ("done", SPEC.id.to_owned())
                }
            },
        },
    };
    Ok(entry(GENERALIZE, node, work, outcome, by))
}

/// Who answers a DLL entry, of the steps that run.
fn answer(session: &Session<'_>, name: &str) -> (&'static str, String) {
    let mirrors = |step: &&&dyn Step| {
        let parts = step.spec().mirrors.iter().filter_map(|mirror| mirror.split_once('!'));
        parts.into_iter().any(|(module, method)| recipe::entry(module, method).eq_ignore_ascii_case(name))
    };
    let specs: Vec<&Spec> = STEPS.iter().filter(mirrors).map(|step| step.spec()).collect();
    let ids = |specs: &mut dyn Iterator<Item = &&Spec>| specs.map(|spec| spec.id).collect::<Vec<_>>().join(", ");
    let runs = |spec: &&&Spec| session.options.runs(spec, session.facts.is_server());
    if specs.iter().any(|spec| runs(&spec)) {
        return ("step", ids(&mut specs.iter().filter(runs)));
    }
    match OTHERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)) {
        Some((_, outcome, why)) => (outcome, (*why).to_owned()),
        None if !specs.is_empty() => ("left", format!("not asked for: {}", ids(&mut specs.iter()))),
        None => ("unknown", "no step answers this entry".to_owned()),
    }
}
