//! Which tensors of a file are meant: by name patterns, or by the names that transformers give their layers.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::kernels::nm::NmPattern;

/// A name, or with `*` for any run of characters, dots included, all names of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The names of this form.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether only one name is of this form.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a name is of this form.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let Some((middle, last)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
        // Each part at its first place leaves the most for those after it.
        for part in middle.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(last)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Glob {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

/// The pattern for names of a form; `2:4`, for all, or `*.attention.*=2:4` in text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which tensors.
    pub names: Glob,
    /// What becomes of them.
    pub pattern: NmPattern,
}

impl Rule {
    /// The rule for a name: of those for names of its form the last.
    pub fn find<'a>(rules: &'a [Self], name: &str) -> Option<&'a Self> {
        rules.iter().rev().find(|rule| rule.names.matches(name))
    }

    /// The places of the names that there is a rule for, each with its pattern: the parts of a slab that are to become
    /// sparse, for [`NmAdmm::new`](crate::solvers::nm::NmAdmm::new), from the names that a model gives them.
    ///
    /// # Errors
    /// [`Error::Setting`] when no name is of the form that a rule is for.
    ///
    /// # Examples
    ///
    /// ```
    /// use dualstep::prune::Rule;
    ///
    /// let rules = ["layers.*.weight=2:4", "*.2.*=1:8"].map(|rule| rule.parse().unwrap());
    /// let parts = Rule::choose(&rules, &["layers.1.weight", "layers.1.bias", "layers.2.weight"])?;
    /// let texts: Vec<_> = parts.iter().map(|(part, pattern)| format!("{part} {pattern}")).collect();
    /// assert_eq!(texts, ["0 2:4", "2 1:8"]);
    /// # Ok::<(), dualstep::Error>(())
    /// ```
    pub fn choose(rules: &[Self], names: &[&str]) -> Result<Vec<(usize, NmPattern)>, Error> {
        if let Some(idle) = rules.iter().find(|rule| !names.iter().any(|name| rule.names.matches(name))) {
            let expected = "must match a name from end to end";
            return Err(Error::Setting { setting: "pattern", value: idle.names.to_string(), expected });
        }
        let found =
            names.iter().enumerate().filter_map(|(at, name)| Some((at, Self::find(rules, name)?.pattern)));
        Ok(found.collect())
    }
}

impl From<NmPattern> for Rule {
    /// For all names.
    fn from(pattern: NmPattern) -> Self {
        Self { names: Glob::new("*"), pattern }
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.rsplit_once('=') {
            Some((names, pattern)) => Ok(Self { names: Glob::new(names), pattern: pattern.parse()? }),
            None => Ok(text.parse::<NmPattern>()?.into()),
        }
    }
}

/// What transformers call the matrices of attention and feed-forward layers: BERT, RoBERTa, DistilBERT, ELECTRA, ViT, GPT-NeoX,
/// GPT-J, OPT, BART, Whisper, T5, Llama, Mistral, Qwen, Gemma, Phi and those of torch.nn. Not the `c_attn`, `c_proj` and `c_fc` of
/// GPT-2, which stores them inputs × outputs, so that rows are not what a pattern is along; and no `gate`, which is a router.
const LAYERS: &[&str] = &[
    // attention
    "query",
    "key",
    "value",
    "q",
    "k",
    "v",
    "o",
    "out",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
    "q_lin",
    "k_lin",
    "v_lin",
    "out_lin",
    "wq",
    "wk",
    "wv",
    "wo",
    "Wqkv",
    "Wo",
    "qkv",
    "qkv_proj",
    "query_key_value",
    "in_proj",
    "proj",
    // feed-forward
    "dense",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "fc",
    "fc1",
    "fc2",
    "fc_in",
    "fc_out",
    "lin1",
    "lin2",
    "linear1",
    "linear2",
    "wi",
    "wi_0",
    "wi_1",
    "Wi",
    "w1",
    "w2",
    "w3",
    "up",
    "down",
    "up_proj",
    "down_proj",
    "gate_proj",
    "gate_up_proj",
    "intermediate",
    "output",
];

/// Whether a name is that of a transformer's attention or feed-forward matrix, and not within an embedding, a pooler or a head.
pub(super) fn is_layer(name: &str) -> bool {
    let module = name.strip_suffix(".weight").or_else(|| name.strip_suffix("_weight"));
    let Some(module) = module else { return false };
    let mut parts = module.rsplit('.');
    let layer = parts.next().unwrap_or_default();
    LAYERS.contains(&layer) && !module.split('.').any(is_outside)
}

/// Whether part of a name tells that what is below it is no layer.
fn is_outside(part: &str) -> bool {
    let part = part.to_lowercase();
    let within = ["embed", "norm", "pooler", "classifier", "classification", "predictions", "router"];
    let whole = ["heads", "cls", "score", "shared", "lm_head", "qa_outputs"];
    within.iter().any(|word| part.contains(word)) || whole.contains(&part.as_str()) || part.ends_with("head")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*", "", true),
            ("a.*", "a.b.c", true),
            ("*.b", "a.b.c", false),
            ("*.b.*", "a.b.c", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*b", "aab", false),
            ("*ab*b", "abab", true),
            ("a**b", "ab", true),
            ("layer.*.out.*t", "layer.3.out.weight", true),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(Glob::new(glob).matches(name), expected, "{glob} and {name}");
        }
    }

    #[test]
    fn the_last_rule_for_a_name_holds_and_none_may_be_idle() {
        let rules = |texts: [&str; 2]| texts.map(|text| text.parse::<Rule>().unwrap());
        let names = ["a.w", "a.b", "c.w"];
        let pattern = |text: &str| text.parse::<NmPattern>().unwrap();
        let chosen = Rule::choose(&rules(["*.w=2:4", "a.*=1:8"]), &names).unwrap();
        assert_eq!(chosen, [(0, pattern("1:8")), (1, pattern("1:8")), (2, pattern("2:4"))]);
        let idle = Rule::choose(&rules(["*.w=2:4", "b.*=1:8"]), &names).unwrap_err().to_string();
        assert!(idle.contains("b.*"), "{idle}");
    }

    #[test]
    fn layers_of_transformers_are_told_from_what_is_around_them() {
        let inside = [
            "encoder.layer.0.attention.self.query.weight",
            "bert.encoder.layer.11.attention.output.dense.weight",
            "encoder.layer.0.intermediate.dense.weight",
            "encoder.layer.0.output.dense.weight",
            "distilbert.transformer.layer.0.ffn.lin1.weight",
            "gpt_neox.layers.0.attention.query_key_value.weight",
            "transformer.h.0.mlp.fc_in.weight",
            "model.decoder.layers.0.self_attn.out_proj.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "decoder.block.0.layer.2.DenseReluDense.wi_0.weight",
            "encoder.block.0.layer.0.SelfAttention.o.weight",
            "vit.encoder.layer.0.attention.attention.key.weight",
            "blocks.0.attn.qkv.weight",
            "blocks.0.mlp.fc2.weight",
            "layers.0.self_attn.in_proj_weight",
            "layers.0.multihead_attn.out_proj.weight",
            "layers.0.attention.wo.weight",
        ];
        let outside = [
            "embeddings.word_embeddings.weight",
            "pooler.dense.weight",
            "cls.predictions.transform.dense.weight",
            "lm_head.weight",
            "lm_head.dense.weight",
            "classifier.dense.weight",
            "classifier.out_proj.weight",
            "classification_head.dense.weight",
            "discriminator_predictions.dense.weight",
            "encoder.layer.0.attention.output.LayerNorm.weight",
            "encoder.layer.0.output.dense.bias",
            "model.embed_tokens.weight",
            "patch_embed.proj.weight",
            "shared.weight",
            "head.weight",
            "score.weight",
            "transformer.h.0.attn.c_attn.weight",
        ];
        inside.iter().for_each(|name| assert!(is_layer(name), "{name}"));
        outside.iter().for_each(|name| assert!(!is_layer(name), "{name}"));
    }

    #[test]
    fn rules_are_read() {
        let rule: Rule = "1:8".parse().unwrap();
        assert!(rule.names.matches("anything") && rule.pattern.to_string() == "1:8");
        let rule: Rule = "*.attention.*=2:4".parse().unwrap();
        assert!(rule.names.matches("a.attention.b") && !rule.names.matches("a.ffn.b"));
        assert!("*.attention.*=4".parse::<Rule>().is_err());
    }
}
