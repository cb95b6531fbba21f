use super::{Evidence, Spec, Step};
use crate::MachineHive::System;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;
use reseal_hive::types::DWORD;

/// Tells the device part of specialize what the generalize pass would have told it.
pub(super) struct DeviceSettings;

const KEY: &str = r"Setup\Sysprep\Settings\sppnp";
const PNP_SYSPREP: &str = "Microsoft-Windows-PnpSysprep";
const PERSIST: &str = "PersistAllDeviceInstalls";
const KEEP_ABSENT: &str = "DoNotCleanUpNonPresentDevices";

static SPEC: Spec = Spec {
    id: "device-settings",
    title: "Hand over the settings for devices",
    about: "Devices stay as they are installed, unless --devices drop forgets some. Where Windows keeps the settings of the generalize pass for them \
            (Setup\\Sysprep\\Settings\\sppnp), PersistAllDeviceInstalls is set, so that specialize keeps them too; what the \
            answer file says of it and of DoNotCleanUpNonPresentDevices goes before, since that pass itself never runs in \
            an image that is sealed while it is not running. SkipRearm needs nothing: licensing is never rearmed here.",
    phase: "identity",
    mirrors: &["sppnp.dll!Sysprep_Generalize_Pnp"],
    evidence: Evidence::Inferred,
    unproven: "the place of the two settings on Windows 10 and 11: it was measured on 7 and 8.1",
    writes: &[Scope::Key(System, r"Setup\Sysprep")],
    ..Spec::BASE
};

impl Step for DeviceSettings {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let (file, architecture) = (session.answer_file()?, session.architecture()?);
        let said = |name| file.as_ref().and_then(|file| file.generalize_switch(PNP_SYSPREP, name, architecture));
        let (persist, keep_absent) = (said(PERSIST), said(KEEP_ABSENT));
        let is_there = session.hive(System).map_or(Ok(None), |hive| hive.key(KEY))?.is_some();
        if persist.is_none() && keep_absent.is_none() && !is_there {
            return Ok(Some(format!(r"there is no key SYSTEM\{KEY}, and the answer file says nothing")));
        }
        session.make_key(System, KEY)?;
        let wanted = [(PERSIST, Some(persist.unwrap_or(!session.options.drop_devices))), (KEEP_ABSENT, keep_absent)];
        for (name, switch) in wanted {
            if let Some(switch) = switch {
                session.set(System, KEY, name, DWORD, &u32::from(switch).to_le_bytes())?;
            }
        }
        Ok(None)
    }
}
