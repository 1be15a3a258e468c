//! Runs a fuzz target on any compiler. It has no coverage feedback to learn from as
//! libFuzzer has, so it relies on what the targets generate, on the corpus, and on
//! mutations of both.

mod mutate;
mod watch;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use clap::Parser;
use fastrand::Rng;
use onepoll_fuzz::targets::TARGETS;
use onepoll_fuzz::{LONGEST_INPUT, Target};

use watch::{Failure, Watch};

/// Fuzz one of onepoll's parsers, or replay inputs
#[derive(Parser)]
struct Arguments {
    /// Which parser
    #[arg(required_unless_present = "list")]
    target: Option<String>,
    /// Check these inputs and nothing else
    files: Vec<PathBuf>,
    /// How long to run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Draw the same inputs as an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// List the targets
    #[arg(long)]
    list: bool,
}

/// How much randomness a generator is given.
const ENTROPY: usize = 1024;

/// How many generated inputs are kept for mutations.
const KEPT: usize = 256;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns false if an input failed, and has been reported.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    if arguments.list {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return Ok(true);
    }
    let name = arguments.target.as_deref().unwrap_or_default();
    let Some(target) = TARGETS.iter().copied().find(|target| target.name == name) else {
        return Err(format!("there is no target {name:?}; --list shows all").into());
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let watch = Watch::new(target, here.join("artifacts"));
    let files = match &arguments.files[..] {
        [] => corpus(&here.join("corpus").join(target.name))?,
        files => files.to_vec(),
    };
    let mut seeds = Vec::new();
    for file in &files {
        let input = fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        if let Err(failure) = watch.check(&input) {
            report(target, &failure, file);
            return Ok(false);
        }
        seeds.push(input);
    }
    if !arguments.files.is_empty() {
        println!("{name}: {} inputs pass", seeds.len());
        return Ok(true);
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let started = Instant::now();
    let mut inputs = Inputs { target, random: Rng::with_seed(seed), generated: Vec::new(), seeds };
    let mut count = 0u64;
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        let input = inputs.next();
        if let Err(failure) = watch.check(&input) {
            println!("{name}: input {count} of seed {seed} fails");
            let (input, failure) = watch.shorten(input, failure);
            let file = watch.keep(&input)?;
            println!("{}", input.escape_ascii());
            report(target, &failure, &file);
            return Ok(false);
        }
        count += 1;
    }
    println!("{name}: {count} inputs of seed {seed} pass");
    Ok(true)
}

fn corpus(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let failed = |error| format!("cannot read the corpus {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}

fn report(target: &Target, failure: &Failure, file: &Path) {
    println!("{failure}");
    println!(
        "to replay it: cargo run --release --manifest-path fuzz/Cargo.toml -- {} {}",
        target.name,
        file.display()
    );
}

/// Draws inputs.
struct Inputs<'t> {
    target: &'t Target,
    random: Rng,
    seeds: Vec<Vec<u8>>,
    generated: Vec<Vec<u8>>,
}

impl Inputs<'_> {
    /// A generated input, as it is or damaged, or a damaged one of the corpus.
    fn next(&mut self) -> Vec<u8> {
        let mut input = match self.random.u8(..3) {
            0 => return self.generate(),
            1 => self.generate(),
            _ => self.random.choice(&self.seeds).cloned().unwrap_or_default(),
        };
        for _ in 0..self.random.usize(1..=6) {
            let others = if self.random.bool() { &self.seeds } else { &self.generated };
            let other = self.random.choice(others).map_or(&[][..], Vec::as_slice);
            mutate::mutate(&mut input, other, self.target.words, &mut self.random);
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn generate(&mut self) -> Vec<u8> {
        let entropy: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(ENTROPY).collect();
        // When the randomness is used up, what would come next is left out.
        let mut input = (self.target.generate)(&mut Unstructured::new(&entropy)).unwrap_or_default();
        input.truncate(LONGEST_INPUT);
        if self.generated.len() < KEPT {
            self.generated.push(input.clone());
        } else {
            let place = self.random.usize(..KEPT);
            self.generated[place].clone_from(&input);
        }
        input
    }
}
