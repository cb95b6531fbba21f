//! The options of `reseal generalize`.

use super::Edit;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  reseal generalize gold.vhdx -o sealed.vhdx
  reseal generalize gold.vhdx -o web.vhdx --computer-name WEB-01 --unattend unattend.xml
  reseal generalize gold.vhdx --in-place --keep-undo
  reseal generalize /dev/sdb --in-place --journal /var/lib/reseal
  reseal generalize /mnt/win --in-place
  reseal generalize gold.vhdx -o audit.vhdx --audit
  reseal generalize gold.vhdx -o s.vhdx --reference sealed-by-sysprep.vhdx
  reseal generalize member.vhdx -o s.vhdx --leave-domain --workgroup LAB
  reseal generalize joined.vhdx -o s.vhdx --leave-entra
  reseal generalize gold.vhdx -o s.vhdx --keep-user admin --remove-user-appx
  reseal generalize gold.vhdx -o s.vhdx --remove-user builder --remove-user tester
  reseal generalize server.vhdx -o s.vhdx --blank-administrator
  reseal generalize gold.vhdx -o s.vhdx --drop-snapshots --scrub
  reseal generalize gold.vhdx -o s.vhdx --boot generalize
  reseal generalize gold.vhdx -o s.vhdx --steps +recovery-environment
  reseal generalize gold.vhdx --dry-run --json
  reseal generalize gold.vhdx -o s.vhdx --steps default,-event-logs --sid S-1-5-21-1-2-3
  reseal generalize gold.vhdx -o s.vhdx --seed build-4711 --time 2026-01-01T00:00:00Z")]
pub(crate) struct Generalize {
    /// disk.vhdx, disk.vhd, disk.raw, one partition of it: disk.vhdx#p3, or a folder where a volume is mounted. It is written
    /// with --in-place only.
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) edit: Edit,
    /// Boot to specialize and OOBE (the default).
    #[arg(long)]
    pub(crate) oobe: bool,
    /// Boot to audit mode, by an answer file in Windows\Panther\Unattend that asks for it.
    #[arg(long, conflicts_with = "oobe")]
    pub(crate) audit: bool,
    /// Only set the image to boot there: ids, SID, devices and traces stay, and specialize does not run again.
    #[arg(long)]
    pub(crate) no_generalize: bool,
    /// vm: the copies run on virtual machines of one kind, as for Sysprep's /mode:vm.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// Seal an image in which Sysprep began to generalize and did not end.
    #[arg(long)]
    pub(crate) repair: bool,
    /// A sealed image of the same build, disk.vhdx or install.wim:2, whose setup state is taken over exactly.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) reference: Option<String>,
    /// Answer file to check and to place in Windows\Panther\unattend.xml.
    #[arg(long, value_name = "FILE")]
    pub(crate) unattend: Option<PathBuf>,
    /// Machine SID: random, keep, S-1-5-21-a-b-c, or defer (Windows draws it at first start; experimental).
    #[arg(long, value_name = "SID")]
    pub(crate) sid: Option<String>,
    /// Computer name, in the hives and in the answer file.
    #[arg(long, value_name = "NAME")]
    pub(crate) computer_name: Option<String>,
    /// Leave the domain: the machine is in a workgroup afterwards. Profiles of domain users stay.
    #[arg(long)]
    pub(crate) leave_domain: bool,
    /// The workgroup of a machine that leaves its domain; WORKGROUP when not given.
    #[arg(long, value_name = "NAME", requires = "leave_domain")]
    pub(crate) workgroup: Option<String>,
    /// Leave Entra ID (Azure AD) and device management: join, enrolments, their tasks and certificates.
    #[arg(long)]
    pub(crate) leave_entra: bool,
    /// Remove this local user with profile, folder, rights and tasks; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_user: Vec<String>,
    /// Keep this local user: all other enabled users who are not built in go; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) keep_user: Vec<String>,
    /// Remove Store packages that a user has and that are not provisioned, for which Sysprep would fail.
    #[arg(long)]
    pub(crate) remove_user_appx: bool,
    /// Take the password of the built-in Administrator away; on a server OOBE then asks for one.
    #[arg(long)]
    pub(crate) blank_administrator: bool,
    /// Steps, such as machine-sid,setup-state or default,-event-logs. See `reseal steps`.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(crate) steps: Option<String>,
    /// Further rules: values, keys, files to remove, in TOML; repeatable. See docs/rules.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Mark the volume dirty, so that Windows runs chkdsk on it at its first start.
    #[arg(long)]
    pub(crate) schedule_chkdsk: bool,
    /// Remove all shadow copies of the volume and its restore points; without it an image with such is refused.
    #[arg(long)]
    pub(crate) drop_snapshots: bool,
    /// Wipe what belongs to nothing: free clusters, ends of files, records and hive cells, $LogFile. It reads all free space;
    /// in place the journal takes 1.6 % of what is wiped (with --keep-undo all of it), -o takes nothing.
    #[arg(long)]
    pub(crate) scrub: bool,
    /// Private keys and certificates of the machine, and what protects them: keep, or drop all of it.
    #[arg(long, value_enum, default_value = "keep", value_name = "CHOICE")]
    pub(crate) machine_secrets: KeepOrDrop,
    /// Devices that another machine will not have: keep, or drop those that a start does not need.
    #[arg(long, value_enum, default_value = "keep", value_name = "CHOICE")]
    pub(crate) devices: KeepOrDrop,
    /// Licensing: keep, or have each copy rearm it at the first start.
    #[arg(long, value_enum, default_value = "keep", value_name = "CHOICE")]
    pub(crate) activation: KeepOrRearm,
    /// Boot store: keep, or generalize, so that its loaders find Windows without naming a partition. Experimental: for a disk
    /// whose partitions are made anew on each copy, as in: reseal generalize gold.vhdx -o s.vhdx --boot generalize
    #[arg(long, value_enum, default_value = "keep", value_name = "CHOICE")]
    pub(crate) boot: KeepOrGeneralize,
    /// WIM files: how new contents and metadata are stored. Windows' own programs are known to read compressed ones.
    #[arg(long, value_enum, default_value = "compressed", value_name = "CHOICE")]
    pub(crate) wim_resources: WimResources,
    /// Refuse on any finding.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Draw all random values from this text: equal images then get equal SIDs.
    #[arg(long, value_name = "TEXT")]
    pub(crate) seed: Option<String>,
}

/// What becomes of something that is left alone when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepOrDrop {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
}

/// What becomes of the boot store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepOrGeneralize {
    /// It stays as it is.
    Keep,
    /// Its loaders name no partition any more.
    Generalize,
}

/// How resources of a WIM are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WimResources {
    /// Compressed as the WIM is.
    Compressed,
    /// As they are, in one piece.
    Plain,
    /// As they are, in chunks, as those are that do not compress.
    Chunks,
}

/// What becomes of licensing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepOrRearm {
    /// It stays as it is.
    Keep,
    /// A script rearms it at the first start.
    Rearm,
}

/// How Sysprep itself would be run.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// What the image's recipe excludes for virtual machines is left.
    Vm,
}
