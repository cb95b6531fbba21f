//! Runs fuzz inputs: `cargo run -p reseal-testdata --example replay -- TARGET FILE…`.
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    for file in &args[1..] {
        reseal_testdata::fuzz::run(&args[0], &std::fs::read(file)?)?;
    }
    Ok(())
}
