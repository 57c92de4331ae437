//! `dualstep prune` as its users meet it, on a small file with the tensors of a BERT: what it leaves, bit for bit, and how
//! it fails.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use dualstep::engine::GpuOptions;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tempfile::TempDir;
use values::values;

const QUERY: &str = "encoder.layer.0.attention.self.query.weight";
const UP: &str = "encoder.layer.0.intermediate.dense.weight";
const DOWN: &str = "encoder.layer.0.output.dense.weight";
const WORDS: &str = "embeddings.word_embeddings.weight";

/// A tensor's type, shape and bytes.
type Content = (Dtype, Vec<usize>, Vec<u8>);

fn bytes_of(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let bytes = |value: &f32| match dtype {
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

fn tensor(dtype: Dtype, shape: &[usize], seed: u32) -> Content {
    let count = shape.iter().product::<usize>() as u32;
    (dtype, shape.to_vec(), bytes_of(dtype, &values(seed, count)))
}

/// A little of everything that such a file has; its matrices in this type.
fn bert(dtype: Dtype) -> BTreeMap<String, Content> {
    let position_ids = (0i64..6).flat_map(i64::to_le_bytes).collect();
    let tensors = [
        ("embeddings.position_ids", (Dtype::I64, vec![1, 6], position_ids)),
        (WORDS, tensor(dtype, &[30, 24], 1)),
        ("embeddings.LayerNorm.weight", tensor(dtype, &[24], 2)),
        (QUERY, tensor(dtype, &[24, 24], 3)),
        ("encoder.layer.0.attention.self.query.bias", tensor(dtype, &[24], 4)),
        (UP, tensor(dtype, &[36, 24], 5)),
        (DOWN, tensor(dtype, &[24, 36], 6)),
        ("pooler.dense.weight", tensor(dtype, &[24, 24], 7)),
        // An odd number of bytes, so that nothing after it is aligned.
        ("flags", (Dtype::U8, vec![3], vec![1, 2, 3])),
    ];
    tensors.into_iter().map(|(name, content)| (name.to_owned(), content)).collect()
}

/// A folder with a file of such tensors.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(dtype: Dtype) -> Self {
        Self::of(&bert(dtype))
    }

    fn of(tensors: &BTreeMap<String, Content>) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.save("model", tensors);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, name: &str, tensors: &BTreeMap<String, Content>) {
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
            })
            .collect();
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        fs::write(self.path(name), safetensors::serialize(views, metadata).unwrap()).unwrap();
    }

    fn load(&self, name: &str) -> BTreeMap<String, Content> {
        let bytes = fs::read(self.path(name)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let content = |(name, view): (String, TensorView<'_>)| {
            (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        tensors.tensors().into_iter().map(content).collect()
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualstep"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").arg("prune");
        command.args(line.split_whitespace());
        for (flag, variable) in [("--backend", "DUALSTEP_BACKEND"), ("--adapter", "DUALSTEP_ADAPTER")] {
            if let Ok(value) = std::env::var(variable) {
                command.args([flag, &value]);
            }
        }
        command.output().unwrap()
    }

    /// A run that must succeed; what it printed.
    fn succeed(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A run that must fail with one line, and leave every file as it was; the line.
    fn fail(&self, line: &str) -> String {
        let before = self.files();
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.lines().count() == 1 && said.starts_with("dualstep: "), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
        assert!(self.files() == before, "{line} left something behind");
        said
    }

    fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(&path).ok())).collect()
    }
}

/// A matrix in its pattern, by a sort, on the bytes of its weights.
fn pruned((dtype, shape, bytes): &Content, keep: usize, group: usize) -> Content {
    let size = bytes.len() / (shape[0] * shape[1]);
    let value = |bytes: &[u8]| match *dtype {
        Dtype::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        Dtype::BF16 => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        _ => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
    };
    let mut after = bytes.clone();
    for row in after.chunks_exact_mut(shape[1] * size) {
        // The last group may be short.
        for group in row.chunks_mut(group * size) {
            let magnitudes: Vec<f64> = group.chunks_exact(size).map(|bytes| value(bytes).abs()).collect();
            let mut order: Vec<usize> = (0..magnitudes.len()).collect();
            order.sort_by(|&a, &b| magnitudes[b].total_cmp(&magnitudes[a]));
            order.iter().skip(keep).for_each(|&k| group[k * size..(k + 1) * size].fill(0));
        }
    }
    (*dtype, shape.clone(), after)
}

fn has_device() -> bool {
    gpu::open(GpuOptions::default()).is_some()
}

/// What the file should hold after these matrices got this pattern.
fn expected(dtype: Dtype, names: &[&str], keep: usize, group: usize) -> BTreeMap<String, Content> {
    let mut tensors = bert(dtype);
    for name in names {
        let tensor = tensors.get_mut(*name).unwrap();
        *tensor = pruned(tensor, keep, group);
    }
    tensors
}

#[test]
fn layers_are_pruned_in_every_type_and_nothing_else_changes_a_bit() {
    if !has_device() {
        return;
    }
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let bench = Bench::new(dtype);
        for (pattern, keep, group) in [("2:4", 2, 4), ("1:3", 1, 3), ("5:12", 5, 12)] {
            bench.succeed(&format!("model --pattern {pattern} -o out"));
            assert_eq!(
                bench.load("out"),
                expected(dtype, &[QUERY, UP, DOWN], keep, group),
                "{dtype:?} {pattern}"
            );
            let (before, after) =
                (fs::read(bench.path("model")).unwrap(), fs::read(bench.path("out")).unwrap());
            let header = 8 + u64::from_le_bytes(before[..8].try_into().unwrap()) as usize;
            assert_eq!(before[..header], after[..header], "the header stays, metadata and all");
            bench.succeed(&format!("out --pattern {pattern} --check"));
            bench.succeed(&format!("out --pattern {pattern} -o again"));
            assert_eq!(fs::read(bench.path("again")).unwrap(), after, "a pruned file is left as it is");
        }
    }
}

#[test]
fn names_choose_and_the_last_rule_holds() {
    if !has_device() {
        return;
    }
    let bench = Bench::new(Dtype::F32);
    bench.succeed("model --include *.dense.weight --include embeddings.* --exclude pooler.* -o out");
    assert_eq!(bench.load("out"), expected(Dtype::F32, &[WORDS, UP, DOWN], 2, 4));
    bench.succeed("model --pattern 2:4 --pattern *.attention.*=1:8 -o out");
    let mut mixed = expected(Dtype::F32, &[UP, DOWN], 2, 4);
    mixed.insert(QUERY.into(), pruned(&bert(Dtype::F32)[QUERY], 1, 8));
    assert_eq!(bench.load("out"), mixed);
    bench.succeed("model --pattern *.query.*=2:4 -o out");
    assert_eq!(bench.load("out"), expected(Dtype::F32, &[QUERY], 2, 4));
}

/// Where the group does not divide 36 columns, with more than one weight beyond the last whole group, and with fewer than stay.
#[test]
fn a_short_last_group_keeps_the_largest_of_what_is_there() {
    if !has_device() {
        return;
    }
    for dtype in [Dtype::F32, Dtype::BF16] {
        let bench = Bench::new(dtype);
        for (pattern, keep, group) in [("2:5", 2, 5), ("2:7", 2, 7), ("3:16", 3, 16)] {
            bench.succeed(&format!("model --pattern {pattern} --pad -o out"));
            assert_eq!(
                bench.load("out"),
                expected(dtype, &[QUERY, UP, DOWN], keep, group),
                "{dtype:?} {pattern}"
            );
            bench.succeed(&format!("out --pattern {pattern} --pad --check"));
            bench.succeed(&format!("model --pattern {pattern} --pad --packed -o packed"));
            bench.succeed("packed --check");
            bench.succeed("packed --unpack -o back");
            assert_eq!(fs::read(bench.path("back")).unwrap(), fs::read(bench.path("out")).unwrap());
        }
    }
}

#[test]
fn a_packed_file_comes_back_byte_for_byte() {
    if !has_device() {
        return;
    }
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let bench = Bench::new(dtype);
        for pattern in ["2:4", "1:3", "3:4", "5:12"] {
            bench.succeed(&format!("model --pattern {pattern} -o dense"));
            bench.succeed(&format!("model --pattern {pattern} --packed -o packed"));
            bench.succeed("packed --check");
            bench.succeed(&format!("packed --pattern {pattern} --check"));
            bench.succeed("packed --unpack -o back");
            assert_eq!(fs::read(bench.path("back")).unwrap(), fs::read(bench.path("dense")).unwrap());
        }
        // The form as the documentation has it, read here by hand: 5 of 12, so places of 4 bits, 10 to a row of 24.
        let (packed, dense) = (bench.load("packed"), bench.load("dense"));
        let (values, places) = (&packed[&format!("{QUERY}.values")], &packed[&format!("{QUERY}.places")]);
        assert_eq!(
            (values.0, &values.1[..], places.0, &places.1[..]),
            (dtype, &[24, 10][..], Dtype::U32, &[24, 2][..])
        );
        let size = values.2.len() / 240;
        let mut unpacked = vec![0; 24 * 24 * size];
        for entry in 0..240 {
            let (row, k) = (entry / 10, entry % 10);
            let place = places.2[8 * row + k / 2] >> (k % 2 * 4) & 15;
            let column = k / 5 * 12 + usize::from(place);
            let value = &values.2[entry * size..(entry + 1) * size];
            unpacked[(row * 24 + column) * size..][..size].copy_from_slice(value);
        }
        assert_eq!(unpacked, dense[QUERY].2);
        assert!(!packed.contains_key(QUERY) && packed["flags"] == dense["flags"]);
    }
}

#[test]
fn what_was_done_is_reported() {
    if !has_device() {
        return;
    }
    let bench = Bench::new(Dtype::BF16);
    bench.succeed("model --pattern 1:4 -o first");
    for form in ["", "--packed"] {
        let line = bench.succeed(&format!("model --previous first -o out --json {form}"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((line["matrices"].as_array().unwrap().len(), line["others"].as_u64()), (3, Some(6)));
        let query = line["matrices"].as_array().unwrap().iter().find(|row| row["name"] == QUERY).unwrap();
        assert_eq!((&query["type"], &query["pattern"]), (&"bf16".into(), &"2:4".into()));
        assert_eq!(query["density"], 0.5);
        // Of 144 groups one weight stays in the first file and two in the second, the same one among them.
        assert_eq!((query["weights"].as_u64(), query["flips"].as_u64()), (Some(576), Some(144)));
        let square = |tensor: &Content| -> f64 {
            let values = tensor.2.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64());
            values.map(|value| value * value).sum()
        };
        let dense = &bert(Dtype::BF16)[QUERY];
        let energy = square(&pruned(dense, 2, 4)) / square(dense);
        assert!((query["energy"].as_f64().unwrap() - energy).abs() < 1e-12);
        let all = [24 * 24u64, 36 * 24, 24 * 36].iter().sum::<u64>();
        assert_eq!(
            (line["total"]["weights"].as_u64(), line["total"]["kept"].as_u64()),
            (Some(all), Some(all / 2))
        );
        assert_eq!(line["bytes_written"].as_u64(), Some(fs::metadata(bench.path("out")).unwrap().len()));
    }
    let table = bench.succeed("model --previous first -o out");
    assert!(
        table.contains("flips") && table.contains("3 matrices") && table.contains("6 other tensors"),
        "{table}"
    );
}

#[test]
fn what_is_not_in_the_pattern_is_named() {
    let mut tensors = bert(Dtype::F16);
    for name in [QUERY, UP, DOWN] {
        let tensor = tensors.get_mut(name).unwrap();
        *tensor = pruned(tensor, 2, 4);
    }
    let bench = Bench::of(&tensors);
    bench.succeed("model --check");
    // A third weight of four, in row 5 and columns 8 to 11.
    let (_, _, bytes) = tensors.get_mut(DOWN).unwrap();
    bytes[2 * (5 * 36 + 8)..][..8].fill(0x3c);
    bench.save("model", &tensors);
    let said = bench.fail("model --check");
    let expected = format!("tensor `{DOWN}` is not 2:4: row 5, group 2 (columns 8 to 11) holds 4 weights");
    assert!(said.contains(&expected), "{said}");
    bench.succeed(&format!("model --check --exclude {DOWN}"));
}

#[test]
fn bad_choices_fail_before_anything_is_written() {
    let bench = Bench::new(Dtype::F32);
    let mut other = bert(Dtype::F32);
    other.remove(UP);
    bench.save("lacking", &other);
    other.insert(UP.into(), tensor(Dtype::F32, &[24, 24], 1));
    bench.save("other", &other);
    other.insert(UP.into(), (Dtype::F64, vec![1, 4], vec![0; 32]));
    bench.save("doubles", &other);
    let group = format!(
        "tensor `{DOWN}` is 24 × 36 and cannot be 1:8: 36 columns are not whole groups of 8, 4 are left"
    );
    let cases = [
        ("model --pattern 1:8 -o out", group.as_str()),
        ("model --include no.such -o out", "no tensor is called `no.such`"),
        ("model --exclude *.nothing -o out", "no tensor is called `*.nothing`"),
        ("model --pattern nothing*=2:4 -o out", "no tensor is called `nothing*`"),
        ("model --include flags -o out", "tensor `flags` is 3 u8; only matrices of f32, f16 or bf16"),
        ("model --include *.bias -o out", "nothing to prune"),
        ("doubles -o out", "intermediate.dense.weight` is 1 × 4 f64; only matrices"),
        ("model --previous lacking -o out", "is missing, so that there is nothing to compare with"),
        ("model --previous other -o out", "is 24 × 24 f32 but 36 × 24 f32 in model"),
        ("model --unpack -o out", "is not packed"),
        ("model -o nowhere/out", "nowhere/out: cannot write there"),
        ("missing -o out", "cannot read missing"),
        (". -o out", "cannot read ."),
        ("missing --check", "cannot read missing"),
    ];
    for (line, expected) in cases {
        let said = bench.fail(line);
        assert!(said.contains(expected), "{line}: {said}");
    }
    for line in
        ["model", "model -o out --check", "model --unpack --packed -o out", "model -o out --pattern 4:2"]
    {
        assert_eq!(bench.run(line).status.code(), Some(2), "{line}");
    }
}

#[test]
fn a_weight_that_is_not_finite_is_found() {
    if !has_device() {
        return;
    }
    for (dtype, row, column) in [(Dtype::F32, 35, 23), (Dtype::F16, 0, 1), (Dtype::BF16, 7, 6)] {
        for (value, name) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let mut tensors = bert(dtype);
            let (_, _, bytes) = tensors.get_mut(UP).unwrap();
            let odd = bytes_of(dtype, &[value]);
            bytes[(row * 24 + column) * odd.len()..][..odd.len()].copy_from_slice(&odd);
            let bench = Bench::of(&tensors);
            fs::write(bench.path("out"), "old").unwrap();
            for line in ["model -o out", "model --pattern 1:3 --packed -o out"] {
                let said = bench.fail(line);
                let expected = format!("tensor `{UP}` holds {name} at row {row}, column {column};");
                assert!(said.contains(&expected), "{said}");
            }
            bench.succeed(&format!("model --exclude {UP} -o out"));
        }
    }
}

#[test]
fn the_file_that_is_read_is_not_written() {
    if !has_device() {
        return;
    }
    let bench = Bench::new(Dtype::F32);
    fs::hard_link(bench.path("model"), bench.path("hard")).unwrap();
    let mut names = vec!["model", "./model", "hard"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("model", bench.path("soft")).unwrap();
        names.push("soft");
    }
    for name in names {
        let said = bench.fail(&format!("model -o {name}"));
        assert!(said.contains("is the same file as model, which is read"), "{said}");
    }
    bench.succeed("model --packed -o packed");
    assert!(bench.fail("packed --unpack -o packed").contains("is the same file as packed"));
    assert!(bench.fail("packed -o out").contains("is packed; unpack it first"));
    assert!(bench.fail("packed --pattern 1:4 --check").contains("is packed as 2:4, not 1:4"));
}

/// A file by its header and the tensors behind it.
fn file(header: &str, tensors: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
}

#[test]
fn files_that_are_cut_short_or_lie_are_refused() {
    let bench = Bench::new(Dtype::F32);
    let whole = fs::read(bench.path("model")).unwrap();
    let header = |offsets: &str, shape: &str| {
        format!(r#"{{"a.query.weight":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let mut claims_a_header = whole.clone();
    claims_a_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases = [
        Vec::new(),
        whole[..7].to_vec(),
        whole[..100].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &[0]].concat(),
        claims_a_header,
        file("{}}", &[]),
        file(&header("[0,16]", "[1,4]"), &[0; 12]),
        file(&header("[0,16]", "[1,5]"), &[0; 16]),
        file(&header("[16,0]", "[1,4]"), &[0; 16]),
        file(&header("[0,16]", "[4611686018427387904,4]"), &[0; 16]),
        file(&header("[0,18446744073709551615]", "[1,4]"), &[0; 16]),
    ];
    for (k, bytes) in cases.iter().enumerate() {
        fs::write(bench.path("model"), bytes).unwrap();
        for line in ["model -o out", "model --check"] {
            let said = bench.fail(line);
            assert!(said.contains("copy it again"), "case {k}: {said}");
        }
    }
}

/// A packed file with its header edited, or some bytes of its tensors.
#[test]
fn packed_files_that_lie_are_refused() {
    if !has_device() {
        return;
    }
    let bench = Bench::new(Dtype::F32);
    bench.succeed("model --packed -o packed");
    let whole = fs::read(bench.path("packed")).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&whole[8..8 + length]).unwrap();
    let header: serde_json::Value = serde_json::from_str(text).unwrap();
    type Edit = (&'static str, fn(&mut serde_json::Value), &'static str);
    let edits: [Edit; 6] = [
        ("version", |header| header["__metadata__"]["format_version"] = "2".into(), "format version 2"),
        (
            "no header",
            |header| drop(header["__metadata__"].as_object_mut().unwrap().remove("header")),
            "`header` is missing",
        ),
        ("patterns", |header| header["__metadata__"]["patterns"] = "{}".into(), "is missing"),
        (
            "another pattern",
            |header| {
                let patterns = header["__metadata__"]["patterns"].as_str().unwrap().replace("2:4", "1:4");
                header["__metadata__"]["patterns"] = patterns.into();
            },
            "by the metadata it must be",
        ),
        ("dense header", |header| header["__metadata__"]["header"] = "[]".into(), "`header` is damaged"),
        (
            "one more",
            |header| {
                header["more"] = serde_json::json!({ "dtype": "U8", "shape": [0], "data_offsets": [0, 0] });
            },
            "tensors but its metadata tells of",
        ),
    ];
    for (what, edit, expected) in edits {
        let mut header = header.clone();
        edit(&mut header);
        fs::write(bench.path("packed"), file(&header.to_string(), &whole[8 + length..])).unwrap();
        for line in ["packed --check", "packed --unpack -o out"] {
            let said = bench.fail(line);
            assert!(said.contains(expected), "{what}: {said}");
        }
    }
    // Two places of one group that are the same.
    let mut bytes = whole.clone();
    let start = header[format!("{UP}.places")]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[8 + length + start] = 0;
    fs::write(bench.path("packed"), bytes).unwrap();
    for line in ["packed --check", "packed --unpack -o out"] {
        let said = bench.fail(line);
        assert!(
            said.contains(&format!("tensor `{UP}` is not 2:4: row 0, group 0 has the places [0, 0]")),
            "{said}"
        );
    }
}
