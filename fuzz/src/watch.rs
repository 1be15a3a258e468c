//! Checks inputs, and catches those that fail or never end.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, panic, process, thread};

use onepoll_fuzz::Target;

/// The longest that the check of an input may take, on a busy machine. Most take less than
/// a millisecond.
const LONGEST_CHECK: Duration = Duration::from_secs(10);

/// How long to look for a shorter input that fails.
const LONGEST_SEARCH: Duration = Duration::from_secs(5);

/// Why an input failed.
#[derive(Debug, Clone)]
pub struct Failure {
    message: String,
    /// The line that panicked.
    place: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nat {}", self.message, self.place)
    }
}

/// The input being checked, and since when.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

pub struct Watch {
    target: &'static Target,
    artifacts: PathBuf,
    current: Current,
    /// What the latest panic said.
    latest: Arc<Mutex<Option<Failure>>>,
}

impl Watch {
    /// Panics are silent from now on, and a check that takes too long ends the program.
    pub fn new(target: &'static Target, artifacts: PathBuf) -> Watch {
        let (current, latest) = (Current::default(), Arc::new(Mutex::new(None)));
        let told = Arc::clone(&latest);
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("it panicked").to_owned();
            let place = info.location().map_or(String::new(), ToString::to_string);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure { message, place });
        }));
        let watch = Watch { target, artifacts, current, latest };
        let (watched, artifacts) = (Arc::clone(&watch.current), watch.artifacts.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1));
                let current = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((since, input)) = &*current
                    && since.elapsed() > LONGEST_CHECK
                {
                    println!("{}: a check takes longer than {LONGEST_CHECK:?}", target.name);
                    println!("{}", input.escape_ascii());
                    match keep(target, &artifacts, input) {
                        Ok(file) => println!("the input is kept as {}", file.display()),
                        Err(error) => println!("{error}"),
                    }
                    process::exit(1);
                }
            }
        });
        watch
    }

    /// Checks an input.
    pub fn check(&self, input: &[u8]) -> Result<(), Failure> {
        self.set_current(Some((Instant::now(), input.to_vec())));
        let outcome = panic::catch_unwind(|| self.target.run(input));
        self.set_current(None);
        outcome.map_err(|_| {
            let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            latest.unwrap_or(Failure { message: "it panicked".into(), place: String::new() })
        })
    }

    fn set_current(&self, current: Option<(Instant, Vec<u8>)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Leaves out what is not needed to fail at the same place.
    pub fn shorten(&self, mut input: Vec<u8>, mut failure: Failure) -> (Vec<u8>, Failure) {
        let started = Instant::now();
        let mut size = input.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < input.len() && started.elapsed() < LONGEST_SEARCH {
                let mut shorter = input.clone();
                shorter.drain(start..(start + size).min(input.len()));
                match self.check(&shorter) {
                    Err(same) if same.place == failure.place => (input, failure) = (shorter, same),
                    _ => start += size,
                }
            }
            size /= 2;
        }
        (input, failure)
    }

    /// Writes an input to a file, and returns its name.
    pub fn keep(&self, input: &[u8]) -> io::Result<PathBuf> {
        keep(self.target, &self.artifacts, input)
    }
}

fn keep(target: &Target, artifacts: &std::path::Path, input: &[u8]) -> io::Result<PathBuf> {
    let folder = artifacts.join(target.name);
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{:08x}", onepoll_fuzz::pieces::hash(input) as u32));
    fs::write(&file, input)?;
    Ok(file)
}
