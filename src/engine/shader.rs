//! Turns a WGSL file and a variant into the text a compiler sees.
//!
//! Called by the pipeline cache and by the tests that validate every kernel × variant without a GPU. Two directives,
//! nothing more: `#import "folder/file.wgsl"` puts a file in place of the line, once per flattened file; a line that
//! ends in `// @spec` may have its right-hand side replaced. The access mode of an input that shares its buffer with an
//! output is replaced, too. A variant that names an import, a spec line or an input that is not there is an error: a
//! misspelt variant must not silently be the default.

use super::kernel::Variant;
use crate::Error;

/// Every file under `shaders/`: name without `.wgsl`, text.
static SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// The WGSL of `kernel` with its imports in place and the variant's choices made.
///
/// # Errors
/// [`Error::Shader`] when a file is missing, or the variant names an import, spec line or input that does not exist.
pub fn flatten(kernel: &str, variant: &Variant) -> Result<String, Error> {
    let mut flattener = Flattener { variant, seen: Vec::new(), used: Vec::new(), text: String::new() };
    flattener.file(kernel, kernel)?;
    let imports = variant.imports.iter().map(|(from, _)| *from);
    let specs = variant.specs.iter().map(|(name, _)| *name);
    for choice in imports.chain(specs).chain(variant.shared.iter().copied()) {
        if !flattener.used.iter().any(|used| used == choice) {
            let detail = format!("variant {} sets `{choice}`, which no line names", variant.label);
            return Err(Error::Shader { shader: kernel.into(), detail });
        }
    }
    Ok(flattener.text)
}

struct Flattener<'a> {
    variant: &'a Variant,
    seen: Vec<String>,
    used: Vec<String>,
    text: String,
}

impl Flattener<'_> {
    fn file(&mut self, name: &str, kernel: &str) -> Result<(), Error> {
        if self.seen.iter().any(|seen| seen == name) {
            return Ok(());
        }
        self.seen.push(name.into());
        let Some((_, source)) = SOURCES.iter().find(|(known, _)| *known == name) else {
            return Err(Error::Shader {
                shader: kernel.into(),
                detail: format!("no file shaders/{name}.wgsl"),
            });
        };
        for line in source.lines() {
            if let Some(import) = import_name(line) {
                let chosen = self.choose(import);
                self.file(&chosen, kernel)?;
            } else {
                let line = self.specialise(line);
                let line = self.widen(&line).unwrap_or(line);
                self.text.push_str(&line);
                self.text.push('\n');
            }
        }
        Ok(())
    }

    fn choose(&mut self, import: &str) -> String {
        match self.variant.imports.iter().find(|(from, _)| *from == import) {
            Some((from, to)) => {
                self.used.push((*from).into());
                (*to).into()
            }
            None => import.into(),
        }
    }

    fn specialise(&mut self, line: &str) -> String {
        let Some(statement) = line.trim_end().strip_suffix("// @spec") else { return line.into() };
        let Some((left, _)) = statement.split_once('=') else { return line.into() };
        let name = left.trim().trim_start_matches("const ").trim_start_matches("alias ");
        let name = name.split(':').next().unwrap_or(name).trim();
        match self.variant.specs.iter().find(|(spec, _)| *spec == name) {
            Some((spec, value)) => {
                self.used.push((*spec).into());
                format!("{left}= {value};")
            }
            None => line.into(),
        }
    }

    /// The declaration of an input, if the variant shares its buffer, as that of an output.
    fn widen(&mut self, line: &str) -> Option<String> {
        let (before, declared) = line.split_once("var<storage, read> ")?;
        let (name, _) = declared.split_once(':')?;
        let shared = self.variant.shared.iter().find(|shared| **shared == name)?;
        self.used.push((*shared).into());
        Some(format!("{before}var<storage, read_write> {declared}"))
    }
}

/// The file a line imports, without `.wgsl`.
fn import_name(line: &str) -> Option<&str> {
    line.strip_prefix("#import \"")?.strip_suffix(".wgsl\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_choice_is_an_error() {
        let variant = Variant::new("wrong").spec("NO_SUCH_CONSTANT", 4u32);
        let message = flatten("elementwise/fill", &variant).unwrap_err().to_string();
        assert!(message.contains("NO_SUCH_CONSTANT"), "{message}");
    }

    #[test]
    fn an_input_is_widened_and_no_other() {
        let text = flatten("dladmm/hidden_z", &Variant::new("relu").sharing("bias")).unwrap();
        assert!(text.contains("@binding(1) var<storage, read_write> bias: array<vec4f>;"), "{text}");
        assert!(text.contains("@binding(0) var<storage, read> product: array<vec4f>;"), "{text}");
        // An output is `read_write` as it is.
        let message = flatten("dladmm/hidden_z", &Variant::new("relu").sharing("z")).unwrap_err().to_string();
        assert!(message.contains("`z`"), "{message}");
    }

    #[test]
    fn a_spec_line_keeps_its_left_side() {
        let text = flatten("elementwise/fill", &Variant::new("small").spec("WG_SIZE", 32u32)).unwrap();
        assert!(text.contains("const WG_SIZE: u32 = 32u;"), "{text}");
        assert!(!text.contains("#import"), "{text}");
    }
}
