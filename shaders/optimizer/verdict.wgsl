// Whether an optimizer's step is taken, and the count of those that were. The head of every optimizer's clock; the host
// knows these words by their order (kernels::optimizer::VERDICT_LENGTH, solvers::optimizer::Tally).
struct Verdict {
    go: u32,         // 1 where the step is taken, 0 where its gradient was refused
    steps: u32,      // steps taken so far, this one included
    refused: u32,    // steps refused so far
    refused_at: u32, // which step, of those taken and refused, was refused first, counted from 1; 0 while none was
    place: u32,      // the first element of the gradient that was to blame for that
}

// The verdict after `found` of optimizer/finite.
fn after_test(verdict: Verdict, found: u32) -> Verdict {
    if found == 0u {
        return Verdict(1u, verdict.steps + 1u, verdict.refused, verdict.refused_at, verdict.place);
    }
    if verdict.refused_at == 0u {
        let at = verdict.steps + verdict.refused + 1u;
        return Verdict(0u, verdict.steps, verdict.refused + 1u, at, ~found);
    }
    return Verdict(0u, verdict.steps, verdict.refused + 1u, verdict.refused_at, verdict.place);
}
