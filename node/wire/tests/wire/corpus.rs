//! What the fuzzers found worth keeping, once more: `node/wire/fuzz/corpus`, a folder a target.

use std::path::Path;

use super::decoders::TARGETS;

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
