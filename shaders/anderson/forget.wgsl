// Forgets the history: columns that belong to another map, or that are not finite. The importing kernel declares
// `ledger`, read and written. The sweep that comes next forms no column, for it has nothing to subtract.
fn forget_history() {
    ledger.columns = 0u;
    ledger.slot = 0u;
    ledger.has_previous = 0u;
    ledger.clears += 1u;
}
