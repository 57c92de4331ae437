//! The shaders that are handed to other compilers are all there, and whole.

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use dualstep::kernels;

#[test]
fn every_variant_of_every_kernel_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut wgsl = Command::new(env!("CARGO_BIN_EXE_dualstep-compilers"));
    assert!(wgsl.arg("wgsl").arg(folder.path()).status().unwrap().success());
    let texts: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let variants = kernels::ALL.iter().map(|kernel| (kernel.variants)().len()).sum::<usize>();
    assert_eq!(texts.len(), variants);
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), variants, "no two are the same");
    for text in &texts {
        assert!(text.contains("fn main(") && !text.contains("#import"), "{}", &text[..text.len().min(200)]);
        let title = text.trim_start_matches("enable subgroups;\n").lines().next().unwrap();
        assert!(title.starts_with("// "), "{title}");
        assert_eq!(text.contains("subgroupBroadcast"), text.starts_with("enable subgroups;"), "{title}");
    }
}
