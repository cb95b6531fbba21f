//! `reseal generalize`.

use crate::args::{Generalize, KeepOrDrop, KeepOrGeneralize, KeepOrRearm, Mode, WimResources};
use crate::progress::Progress;
use crate::{Exit, render};
use anyhow::{Context, Result};
use reseal::{BootTo, Inputs, Options, Plan, Reference, RuleFile, SidChoice, StepSelection, WimStorage};

pub(crate) fn generalize(args: &Generalize) -> Result<Exit> {
    let (options, inputs) = match (options(args), inputs(args)) {
        (Ok(options), Ok(inputs)) => (options, inputs),
        (Err(e), _) | (_, Err(e)) if e.is::<reseal::Error>() || e.is::<std::io::Error>() => return Err(e),
        (Err(e), _) | (_, Err(e)) => {
            render::note(&format!("error: {e:#}"));
            return Ok(Exit::Usage);
        }
    };
    options.check()?;
    let image = args.edit.open(&args.image)?;
    let progress = Progress::new(args.edit.progress);
    let planned = reseal::plan(image, &options, &inputs, &progress)?;
    let empty = planned.is_empty();
    match &args.edit.output {
        output if !args.edit.dry_run && !empty => {
            let report = match output {
                Some(output) => planned.commit_to(output, &progress)?,
                None => planned.commit_in_place(args.edit.how(), &progress)?,
            };
            drop(progress);
            if args.edit.json {
                render::json(&report)?;
            } else {
                for plan in std::iter::once(&report.plan).chain(&report.more) {
                    render::out(&render::plan(plan, true));
                }
                render::out(&render::written(&report));
            }
            if report.plan.sid.as_ref().is_some_and(|sid| sid.shared_by_copies) {
                render::note(
                    "note: every copy of this image starts with the same new machine SID; machines that must not share it \
                     need a SID each: `reseal generalize --sid S-1-5-21-…` per machine, or `--sid defer`, which is experimental \
                     (`reseal stamp` is planned)",
                );
            }
            if options.sid == Some(SidChoice::Defer) {
                render::note(
                    "note: --sid defer is experimental: no real Windows has confirmed that it replaces the SID at its first \
                     start; compare `whoami /user` of two copies",
                );
            }
        }
        _ => {
            drop(progress);
            let plans = planned.plans();
            match &plans[..] {
                [only] if args.edit.json => render::json(only)?,
                several if args.edit.json => render::json(&Plans { schema: "reseal.plans/1", plans: several })?,
                all => all.iter().for_each(|plan| render::out(&render::plan(plan, false))),
            }
        }
    }
    if empty {
        render::note("nothing to do; nothing was written");
        return Ok(Exit::NothingToDo);
    }
    Ok(Exit::Done)
}

/// Plans for several images of one file.
#[derive(serde::Serialize)]
struct Plans<'a> {
    schema: &'static str,
    plans: &'a [&'a Plan],
}

fn options(args: &Generalize) -> Result<Options> {
    let sid = match args.sid.as_deref() {
        None => None,
        Some("random") => Some(SidChoice::Random),
        Some("keep") => Some(SidChoice::Keep),
        Some("defer") => Some(SidChoice::Defer),
        Some(text) => Some(SidChoice::Given(text.parse().with_context(|| format!("--sid {text}"))?)),
    };
    let unattend = args
        .unattend
        .as_ref()
        .map(|path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display())));
    Ok(Options {
        boot_to: if args.audit { BootTo::Audit } else { BootTo::Oobe },
        no_generalize: args.no_generalize,
        vm_mode: matches!(args.mode, Some(Mode::Vm)),
        repair: args.repair,
        reference: args.reference.as_deref().map(Reference::open).transpose()?,
        sid,
        computer_name: args.computer_name.clone(),
        unattend: unattend.transpose()?,
        leave_domain: args.leave_domain,
        workgroup: args.workgroup.clone(),
        leave_entra: args.leave_entra,
        remove_users: args.remove_user.clone(),
        keep_users: args.keep_user.clone(),
        remove_user_appx: args.remove_user_appx,
        blank_administrator: args.blank_administrator,
        steps: args.steps.as_deref().map_or(Ok(StepSelection::default()), StepSelection::parse)?,
        rules: args.rules.iter().map(|path| RuleFile::load(path)).collect::<reseal::Result<_>>()?,
        schedule_chkdsk: args.schedule_chkdsk,
        drop_snapshots: args.drop_snapshots,
        scrub: args.scrub,
        allow: args.edit.allow.clone(),
        strict: args.strict,
        drop_machine_secrets: args.machine_secrets == KeepOrDrop::Drop,
        drop_devices: args.devices == KeepOrDrop::Drop,
        rearm: args.activation == KeepOrRearm::Rearm,
        generalize_boot: args.boot == KeepOrGeneralize::Generalize,
        wim_storage: match args.wim_resources {
            WimResources::Compressed => WimStorage::Compressed,
            WimResources::Plain => WimStorage::Plain,
            WimResources::Chunks => WimStorage::PlainChunks,
        },
        installation: args.edit.installation,
    })
}

fn inputs(args: &Generalize) -> Result<Inputs> {
    let now = args.edit.now()?;
    match &args.seed {
        Some(text) => Ok(Inputs::seeded(text, now)),
        None => Inputs::random(now).context("the system offers no random numbers; give --seed"),
    }
}
