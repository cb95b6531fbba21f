//! A Windows-like VHDX, sealed before your eyes.

use crate::shell::{output, release_binary, target};
use anyhow::{Result, bail};
use reseal_testdata::{ImageBuilder, WindowsImage, machine_sid};
use std::path::Path;
use std::process::Command;

const ANSWER: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend">
  <settings pass="oobeSystem">
    <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <OOBE><HideEULAPage>true</HideEULAPage></OOBE>
    </component>
  </settings>
</unattend>
"#;

pub(crate) fn demo() -> Result<()> {
    crate::setup::setup()?;
    let reseal = release_binary()?;
    let folder = target().join("demo");
    std::fs::create_dir_all(&folder)?;
    let (gold, sealed, answer) = (folder.join("gold.vhdx"), folder.join("sealed.vhdx"), folder.join("unattend.xml"));
    for old in [&gold, &sealed] {
        let _ = std::fs::remove_file(old);
    }
    println!("building {} …", gold.display());
    let image = WindowsImage { files: 300, ..WindowsImage::default() };
    ImageBuilder::default().build(&gold, |volume| image.fill(volume))?;
    std::fs::write(&answer, ANSWER)?;
    let path = |p: &Path| p.display().to_string();
    let (gold, sealed, answer) = (path(&gold), path(&sealed), path(&answer));
    let old = machine_sid().to_string();
    show(&reseal, &["inspect", &gold], 0)?;
    show(&reseal, &["generalize", &gold, "-o", &sealed, "--unattend", &answer, "--computer-name", "WEB-01"], 0)?;
    show(&reseal, &["verify", &sealed, "--no-trace-of", &old], 0)?;
    show(&reseal, &["verify", &sealed, "--no-trace-of", "GOLD-07"], 0)?;
    println!("a second run has nothing to do:");
    show(&reseal, &["generalize", &sealed, "--dry-run"], 5)?;
    println!("the image as it was: {gold}\nthe sealed image:    {sealed}");
    Ok(())
}

fn show(reseal: &Path, args: &[&str], exit: i32) -> Result<()> {
    println!("\n$ reseal {}", args.join(" "));
    let result = output(Command::new(reseal).args(args))?;
    print!("{}", String::from_utf8_lossy(&result.stdout));
    eprint!("{}", String::from_utf8_lossy(&result.stderr));
    if result.status.code() != Some(exit) {
        bail!("reseal {} ends with {}, {exit} was expected", args.join(" "), result.status);
    }
    println!("(exit {exit})");
    Ok(())
}
