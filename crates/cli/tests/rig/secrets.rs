//! Decrypting account hashes and LSA secrets with impacket, from hives with passwords that are known.

use super::{Bench, content};
use reseal_testdata::{oracle, real};

/// Decrypts account hashes and LSA secrets with impacket, which needs SYSTEM, SAM and SECURITY to fit together.
const SECRETS: &str = r#"
import sys, logging
logging.disable(logging.CRITICAL)
from impacket.examples.secretsdump import LocalOperations, SAMHashes, LSASecrets
system, sam, security = (sys.argv[1] + "/" + name for name in ("SYSTEM", "SAM", "SECURITY"))
boot = LocalOperations(system).getBootKey()
print("boot", boot.hex())
hashes = SAMHashes(sam, boot, isRemote=False, perSecretCallback=lambda line: print("sam", line))
hashes.dump(); hashes.finish()
lsa = LSASecrets(security, boot, None, isRemote=False, perSecretCallback=lambda kind, line: print("lsa", line))
lsa.dumpCachedHashes(); lsa.dumpSecrets(); lsa.finish()
"#;

/// Debian's own Python has impacket; another one in front of it on the path would not.
const PYTHON: &str = "/usr/bin/python3";

/// What is decrypted of an image, by line.
pub(crate) fn dump(bench: &Bench, image: &str, name: &str) -> Option<String> {
    let folder = bench.path(name);
    std::fs::create_dir(&folder).expect("it can be made");
    let volume = content::volume(image);
    for hive in ["SYSTEM", "SAM", "SECURITY"] {
        let bytes = content::file(&volume, &format!(r"Windows\System32\config\{hive}"));
        std::fs::write(folder.join(hive), bytes).expect("it can be written");
    }
    oracle::agree(PYTHON, ["-c", SECRETS, folder.to_str()?])
}

/// SAM, SYSTEM and SECURITY that share one boot key, with passwords that are known; made by a script beside the workspace.
pub(crate) fn matched_hives(bench: &Bench) -> Option<Vec<real::PlacedFile>> {
    let (tools, root) = (oracle::shared_tools()?, real::root()?);
    let imports = oracle::run(PYTHON, ["-c", "import hivex, impacket, Cryptodome"])?;
    if !imports.status.success() {
        oracle::missing("the Python modules hivex, impacket and Cryptodome are not installed");
        return None;
    }
    let work = bench.path("work/hives");
    std::fs::create_dir_all(&work).expect("it can be made");
    for name in ["SAM", "SECURITY", "SYSTEM", "NTUSER.DAT", "UsrClass.dat", "BCD", "amcache.hve"] {
        let bytes = real::read(&root, &format!("mkorman90+regipy/{name}.xz")).expect("the set is whole");
        std::fs::write(work.join(name), bytes).expect("it can be written");
    }
    let script = tools.join("mkhives.py");
    let there = bench.path("");
    oracle::agree("env", ["-C", there.to_str()?, PYTHON, script.to_str()?])?;
    let hive = |from: &str, to: &str| real::PlacedFile {
        path: format!(r"Windows\System32\config\{to}"),
        bytes: std::fs::read(work.join("win").join(from)).expect("the script made it"),
    };
    Some(vec![
        hive("SAM", "SAM"),
        hive("SECURITY", "SECURITY"),
        hive("SYSTEM", "SYSTEM"),
        hive("SOFTWARE.S", "SOFTWARE"),
        hive("DEFAULT", "DEFAULT"),
    ])
}
