//! Graph files: the features of nodes as a data set, how nodes are divided, and what is refused.

#[path = "support/graph_file.rs"]
mod graph_file;

use dualstep::data::graph::{Graph, Partition};
use dualstep::data::{DataSource, Split, Values};
use graph_file::small;
use safetensors::tensor::Dtype;

fn rows(set: &dualstep::data::Dataset) -> Vec<Vec<f32>> {
    let values = set.scaled_rows(0..set.len(), set.features()).unwrap();
    values.chunks_exact(set.features()).map(<[f32]>::to_vec).collect()
}

#[test]
fn half_of_each_class_is_learnt_from_and_no_node_twice() {
    for suffix in ["", "@1", "@2", "@3"] {
        let Split { train, test } = small().load(suffix).unwrap();
        let class =
            |set: &dualstep::data::Dataset, class| set.labels().iter().filter(|it| **it == class).count();
        assert_eq!((train.features(), train.classes()), (3, 2));
        assert_eq!((class(&train, 0), class(&train, 1)), (2, 1), "{suffix}");
        assert_eq!((class(&test, 0), class(&test, 1)), (1, 1), "{suffix}");
        let mut all = [rows(&train), rows(&test)].concat();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        // Every labelled node once; node 4, the only one with just the middle feature, has no label.
        let expected: [[f32; 3]; 5] = [[0., 0., 0.], [0., 1., 1.], [1., 0., 0.], [1., 0., 0.], [1., 0., 1.]];
        assert_eq!(all, expected);
    }
}

#[test]
fn seeds_divide_differently_and_repeat() {
    let trains: Vec<_> =
        (0..20).map(|seed| rows(&small().load(&format!("@{seed}")).unwrap().train)).collect();
    assert!(trains.iter().any(|train| *train != trains[0]));
    assert_eq!(rows(&small().load("").unwrap().train), trains[0]);
}

#[test]
fn the_public_split_and_values_are_taken_from_the_file() {
    let signed = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let values = [0.5f32, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5].iter().flat_map(|it| it.to_le_bytes()).collect();
    let file = small()
        .add("feature_values", Dtype::F32, values)
        .add("train", Dtype::I32, signed(&[5, 1]))
        .add("test", Dtype::I32, signed(&[3]));
    let Split { train, test } = file.load("@public").unwrap();
    assert_eq!(rows(&train), [[5.5, 0.0, 6.5], [0.0, 1.5, 2.5]]);
    assert_eq!((train.labels(), rows(&test)), ([0, 1].as_slice(), vec![vec![3.5, 0.0, 0.0]]));
}

#[test]
fn what_is_wrong_is_named() {
    let short = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let signed = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let cases = [
        (small().replace("edges", &[1, 2], short(&[0, 6])), "", "`edges` holds 6"),
        (small().replace("feature_indices", &[7], short(&[0, 1, 3, 0, 1, 0, 2])), "", "holds 3 at element 2"),
        (small().replace("feature_indptr", &[7], signed(&[0, 1, 3, 2, 4, 5, 7])), "", "does not ascend"),
        (small().replace("feature_indptr", &[7], signed(&[0, 1, 3, -3, 4, 5, 7])), "", "holds -3"),
        (small().replace("labels", &[6], vec![0, 1, 2, 1, 255, 0]), "", "label 2 of node 2"),
        (small().replace("labels", &[5], vec![0, 1, 0, 1, 255]), "", "must be 6 u8"),
        (small().say("nodes", "no"), "", "nodes = \"no\""),
        (small(), "@public", "no public split"),
    ];
    for (file, suffix, part) in cases {
        let message = file.load(suffix).unwrap_err().to_string();
        assert!(message.contains(part) && message.lines().count() == 1, "no `{part}` in: {message}");
    }
    assert!(small().without("labels").load("").unwrap_err().to_string().contains("`labels` is missing"));
}

#[test]
fn sources_of_graphs_print_as_they_parse() {
    for text in ["some/cora.safetensors", "a@b/cora.safetensors@7", "cora.safetensors@public"] {
        assert_eq!(text.parse::<DataSource>().unwrap().to_string(), text);
    }
    let folder: DataSource = "cora.safetensors@nobody".parse().unwrap();
    assert!(folder.load().unwrap_err().to_string().contains("FILE.safetensors@SEED"));
}

/// Against D^{−1/2} (A + I) D^{−1/2} written out as dense matrices.
#[test]
fn adjacency_is_normalised_symmetric_and_sorted() {
    let short = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    // 0–1 three times and both ways, a loop at 2, node 4 alone.
    let edges = [0, 1, 1, 0, 2, 2, 2, 5, 0, 1, 3, 0, 5, 0];
    let (_folder, path) = small().replace("edges", &[7, 2], short(&edges)).write();
    let graph = Graph::read(&path).unwrap();
    let adjacency = graph.adjacency();
    let mut dense = [[0.0f64; 6]; 6];
    for [a, b] in edges.as_chunks::<2>().0.iter().map(|edge| edge.map(usize::from)) {
        (dense[a][b], dense[b][a]) = (1.0, 1.0);
    }
    (0..6).for_each(|node| dense[node][node] = 1.0);
    let degrees = dense.map(|row| row.iter().sum::<f64>());
    assert_eq!(adjacency.starts.len(), 7);
    for (row, ends) in adjacency.starts.windows(2).enumerate() {
        let entries = ends[0] as usize..ends[1] as usize;
        let columns = &adjacency.columns[entries.clone()];
        assert!(columns.is_sorted_by(|a, b| a < b), "row {row}: {columns:?}");
        let mut found = [0.0f32; 6];
        for entry in entries {
            found[adjacency.columns[entry] as usize] = adjacency.values[entry];
        }
        let expected: Vec<f32> =
            (0..6).map(|k| (dense[row][k] / (degrees[row] * degrees[k]).sqrt()) as f32).collect();
        assert_eq!(found.as_slice(), expected, "row {row}");
    }
    assert_eq!(adjacency.values[adjacency.starts[4] as usize..adjacency.starts[5] as usize], [1.0]);
}

#[test]
fn all_nodes_are_there_with_the_halves_that_the_data_set_has() {
    let (_folder, path) = small().write();
    let graph = Graph::read(&path).unwrap();
    assert_eq!((graph.nodes(), graph.width(), graph.classes()), (6, 3, 2));
    assert_eq!(graph.labels(), [0, 1, 0, 1, 255, 0]);
    let features = graph.features().dense(0..6, 3);
    assert_eq!(features[3..6], [0.0, 1.0, 1.0]);
    for seed in 0..5 {
        let split = graph.split(Partition::Half { seed }, "small").unwrap();
        let [train, test] = graph.halves(Partition::Half { seed }, "small").unwrap();
        for (nodes, set) in [(train, split.train), (test, split.test)] {
            let expected: Vec<_> =
                nodes.iter().map(|node| features[*node as usize * 3..][..3].to_vec()).collect();
            assert_eq!(rows(&set), expected);
        }
    }
    let missing = graph.halves(Partition::Public, "small").unwrap_err().to_string();
    assert!(missing.contains("small") && missing.contains("no public split"), "{missing}");
}

/// The same graph with its three features among forty: so few entries stay entries, and mean the same.
#[test]
fn few_entries_stay_sparse() {
    let short = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    // Node 1 names its columns the other way round, node 5 one of them twice.
    let columns = short(&[0, 2, 1, 0, 1, 2, 2]);
    let wide = || small().say("features", "40").replace("feature_indices", &[7], columns.clone());
    let split = wide().load("").unwrap();
    for set in [&split.train, &split.test] {
        let Values::Sparse(entries) = set.values() else { panic!("{set:?} is dense") };
        assert_eq!(entries.rows(), set.len());
        assert_eq!(entries.dense(0..set.len(), 40), rows(set).concat());
    }
    let mut all = [rows(&split.train), rows(&split.test)].concat();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let expected = [[0., 0., 0.], [0., 0., 1.], [0., 1., 1.], [1., 0., 0.], [1., 0., 0.]];
    assert_eq!(all.iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>(), expected);
    assert!(all.iter().all(|row| row[3..].iter().all(|value| *value == 0.0)));
    let first = split.train.clone().first(2).unwrap();
    assert_eq!(rows(&first), rows(&split.train)[..2]);
    assert!(
        matches!(small().load("").unwrap().train.values(), Values::Reals(_)),
        "7 of 18 elements are many"
    );
    assert!(wide().load("@public").unwrap_err().to_string().contains("no public split"));
}
