//! What a program's machine code consists of, read from the text that RADV gives of it.

/// How many instructions of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Multiply-adds of singles.
    pub fma: u32,
    /// All else that each lane does for itself.
    pub vector: u32,
    /// What a wave does once: addresses, branches, counters.
    pub scalar: u32,
    /// Accesses of storage buffers.
    pub memory: u32,
    /// Those among them that are of 16 bytes.
    pub wide: u32,
    /// Accesses of workgroup memory.
    pub shared: u32,
}

impl Mix {
    fn of(lines: &[Line<'_>]) -> Self {
        let mut mix = Self::default();
        for line in lines {
            let name = line.mnemonic;
            let count = match name.split('_').next() {
                Some("v") if name.starts_with("v_fma") || name.starts_with("v_pk_fma") => &mut mix.fma,
                Some("v") => &mut mix.vector,
                Some("buffer" | "global" | "flat" | "scratch") => {
                    mix.wide += u32::from(name.ends_with("_dwordx4"));
                    &mut mix.memory
                }
                Some("ds") => &mut mix.shared,
                _ => &mut mix.scalar,
            };
            *count += 1;
        }
        mix
    }

    /// All instructions.
    pub fn total(self) -> u32 {
        let Self { fma, vector, scalar, memory, shared, wide: _ } = self;
        fma + vector + scalar + memory + shared
    }

    /// Multiply-adds among all instructions, 0…1.
    pub fn fma_share(self) -> f64 {
        f64::from(self.fma) / f64::from(self.total().max(1))
    }
}

struct Line<'a> {
    mnemonic: &'a str,
    operands: &'a str,
}

/// A program cut into lines, with the places of its labels.
pub struct Program<'a> {
    lines: Vec<Line<'a>>,
    /// Label, and the line that follows it.
    labels: Vec<(&'a str, usize)>,
}

impl<'a> Program<'a> {
    /// Reads the text: labels end in a colon, comments begin with a semicolon.
    pub fn parse(text: &'a str) -> Self {
        let mut program = Self { lines: Vec::new(), labels: Vec::new() };
        for line in text.lines() {
            let line = line.split(';').next().unwrap_or_default().trim();
            if let Some(label) = line.strip_suffix(':') {
                program.labels.push((label, program.lines.len()));
            } else if !line.is_empty() {
                let (mnemonic, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                program.lines.push(Line { mnemonic, operands: operands.trim() });
            }
        }
        program
    }

    /// All of it.
    pub fn mix(&self) -> Mix {
        Mix::of(&self.lines)
    }

    /// Of the loops with none within them, the one with the most multiply-adds.
    pub fn hot_loop(&self) -> Option<Mix> {
        let loops = self.loops();
        let holds = |a: (usize, usize), b: (usize, usize)| a != b && a.0 <= b.0 && b.1 <= a.1;
        let innermost = loops.iter().filter(|a| !loops.iter().any(|b| holds(**a, *b)));
        innermost.map(|(start, end)| Mix::of(&self.lines[*start..*end])).max_by_key(|mix| mix.fma)
    }

    /// From the target of each branch backwards to behind the branch.
    fn loops(&self) -> Vec<(usize, usize)> {
        let branches = self.lines.iter().enumerate().filter(|(_, line)| line.mnemonic.contains("branch"));
        let target = |line: &Line<'_>| self.labels.iter().find(|(label, _)| *label == line.operands);
        branches
            .filter_map(|(at, line)| Some((target(line)?.1, at + 1)))
            .filter(|(start, end)| start < end)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "BB0:\n\ts_mov_b32 s0, 0 ; be80\nBB1:\n\ts_cbranch_scc1 BB4 ; bf85\nBB2:\n\tds_read_b128 v[0:3], v4\n\
        \tv_fmac_f32_e32 v20, v84, v92\n\tv_fma_f32 v1, v2, v3, v4\n\ts_branch BB2\nBB3:\n\tv_add_f32 v1, v2, v3\n\
        \tbuffer_load_dwordx4 v[84:87], v84, s[20:23], 0 offen\n\tbuffer_store_dword v1, v2, s[4:7], 0 offen\n\
        \ts_branch BB1\nBB4:\n\ts_endpgm\n";

    #[test]
    fn instructions_are_counted_by_kind() {
        let mix = Program::parse(TEXT).mix();
        assert_eq!(mix, Mix { fma: 2, vector: 1, scalar: 5, memory: 2, wide: 1, shared: 1 });
        assert_eq!(mix.total(), 11);
    }

    #[test]
    fn the_hot_loop_is_the_innermost() {
        let hot = Program::parse(TEXT).hot_loop().unwrap();
        assert_eq!(hot, Mix { fma: 2, scalar: 1, shared: 1, ..Mix::default() });
        assert_eq!(hot.fma_share(), 0.5);
        assert_eq!(Program::parse("BB0:\n\ts_endpgm").hot_loop(), None);
    }
}
