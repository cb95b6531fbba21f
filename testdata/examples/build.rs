//! Builds an image for a look by hand: `cargo run -p reseal-testdata --example build -- synthetic|c|a OUT`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use anyhow::{Context, Result, bail};
use reseal_testdata::{ImageBuilder, WindowsImage, real};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, kind, out] = &args[..] else { bail!("usage: build synthetic|c|a OUT") };
    let (image, len) = match kind.as_str() {
        "synthetic" => (WindowsImage { files: 200, ..WindowsImage::default() }, 64 << 20),
        set => {
            let root = real::root().context("no real data")?;
            let (placed, sid) = if set == "c" {
                (real::set_c(&root)?, real::SET_C_SID)
            } else {
                (real::set_a(&root)?, real::SET_A_SID)
            };
            let descriptors = if set == "c" { real::set_c_descriptors(&root)? } else { Vec::new() };
            (WindowsImage { sid: sid.parse()?, placed, descriptors, ..WindowsImage::default() }, 512 << 20)
        }
    };
    ImageBuilder { volume_len: len, ..ImageBuilder::default() }.build(out.as_ref(), |volume| image.fill(volume))?;
    println!("{out}");
    Ok(())
}
