//! What the fuzzers found worth keeping, once more: `node/core/fuzz/corpus`, a folder a target.

use std::path::Path;

/// A target: its name, which is its corpus's, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 2] = [("homes", crate::model::runs), ("hostile", crate::hostile::meets)];

#[test]
fn what_the_fuzzers_kept_still_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let files: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let input = std::fs::read(&file).unwrap();
            let run = std::panic::catch_unwind(|| target(&input));
            assert!(run.is_ok(), "{} fails", file.display());
        }
    }
}
