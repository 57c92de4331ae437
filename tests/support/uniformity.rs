//! Whether every barrier and subgroup operation of a module is reached by all lanes of its workgroup together.
//!
//! naga accepts a barrier in control flow that differs between lanes; Tint rejects it and GPUs may hang on it. This
//! follows, statement by statement, which values may differ between the lanes of a workgroup: the lane's own index and
//! whatever is loaded from memory that the kernel writes, and all that is computed from them or stored under their
//! control. It is stricter than it need be and so proves what it passes.

use std::collections::HashSet;

use naga::{
    AddressSpace, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Statement,
    StorageAccess,
};

/// Says which function may meet a barrier or subgroup operation with only some lanes.
pub fn check(module: &Module) -> Result<(), String> {
    let entry = &module.entry_points[0].function;
    let varying = entry.arguments.iter().map(|argument| {
        let uniform = [BuiltIn::WorkGroupId, BuiltIn::NumWorkGroups];
        !matches!(argument.binding, Some(naga::Binding::BuiltIn(b)) if uniform.contains(&b))
    });
    walk(module, entry, varying.collect(), false).map(|_| ())
}

/// Whether the result of `function` may vary between lanes, for arguments and a call that do as given.
fn walk(module: &Module, function: &Function, arguments: Vec<bool>, apart: bool) -> Result<bool, String> {
    let mut walk =
        Walk { module, function, arguments, locals: HashSet::new(), calls: HashSet::new(), result: false };
    // A variable found to vary may decide about a statement before it in a loop: again until nothing is found.
    loop {
        let known = (walk.locals.len(), walk.calls.len(), walk.result);
        let mut flow = Flow { apart, ..Flow::default() };
        let met = walk.block(&function.body, &mut flow);
        if known == (walk.locals.len(), walk.calls.len(), walk.result) {
            return met.map(|()| walk.result);
        }
    }
}

struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    arguments: Vec<bool>,
    /// Local variables whose value may vary.
    locals: HashSet<Handle<LocalVariable>>,
    /// Results of calls that may vary.
    calls: HashSet<Handle<Expression>>,
    result: bool,
}

/// Whether the lanes of a workgroup may have come apart here, and since when.
#[derive(Clone, Copy, Default)]
struct Flow {
    /// In a branch that not all take.
    apart: bool,
    /// Some may have left the loop, or this round of it.
    left_loop: bool,
    /// Some may have returned.
    returned: bool,
}

impl Flow {
    fn is_apart(self) -> bool {
        self.apart || self.left_loop || self.returned
    }
}

impl Walk<'_> {
    fn block(&mut self, block: &Block, flow: &mut Flow) -> Result<(), String> {
        for statement in block {
            self.statement(statement, flow)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Statement, flow: &mut Flow) -> Result<(), String> {
        match statement {
            Statement::Block(block) => self.block(block, flow)?,
            Statement::If { condition, accept, reject } => {
                self.branches(*condition, [accept, reject].into_iter(), flow)?;
            }
            Statement::Switch { selector, cases } => {
                self.branches(*selector, cases.iter().map(|case| &case.body), flow)?;
            }
            Statement::Loop { body, continuing, break_if } => {
                self.repeat(body, continuing, *break_if, flow)?
            }
            Statement::Break | Statement::Continue => flow.left_loop |= flow.is_apart(),
            Statement::Return { value } => {
                self.result |= flow.is_apart() || value.is_some_and(|value| self.varies(value));
                flow.returned |= flow.is_apart();
            }
            Statement::Store { pointer, value }
                if flow.is_apart() || self.varies(*value) || self.varies(*pointer) =>
            {
                self.locals.extend(self.local_behind(*pointer));
            }
            Statement::Call { function, arguments, result } => {
                let arguments = arguments.iter().map(|argument| self.varies(*argument)).collect();
                let varies =
                    walk(self.module, &self.module.functions[*function], arguments, flow.is_apart())?;
                self.calls.extend(result.filter(|_| varies));
            }
            Statement::ControlBarrier(_)
            | Statement::MemoryBarrier(_)
            | Statement::WorkGroupUniformLoad { .. }
            | Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. }
                if flow.is_apart() =>
            {
                let name = self.function.name.as_deref().unwrap_or("main");
                return Err(format!("only some lanes may reach a barrier or subgroup operation of `{name}`"));
            }
            _ => {}
        }
        Ok(())
    }

    fn branches<'b>(
        &mut self,
        condition: Handle<Expression>,
        branches: impl Iterator<Item = &'b Block>,
        flow: &mut Flow,
    ) -> Result<(), String> {
        let before = *flow;
        let apart = before.apart || self.varies(condition);
        for branch in branches {
            let mut inside = Flow { apart, ..before };
            self.block(branch, &mut inside)?;
            flow.left_loop |= inside.left_loop;
            flow.returned |= inside.returned;
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        body: &Block,
        continuing: &Block,
        break_if: Option<Handle<Expression>>,
        flow: &mut Flow,
    ) -> Result<(), String> {
        let mut inside = *flow;
        // Twice, because lanes that left in one round are missing in the next.
        for _ in 0..2 {
            self.block(body, &mut inside)?;
            self.block(continuing, &mut inside)?;
            inside.left_loop |= break_if.is_some_and(|condition| self.varies(condition));
        }
        flow.returned |= inside.returned;
        Ok(())
    }

    /// Whether an expression may have different values in different lanes. That of a pointer is its place.
    fn varies(&self, expression: Handle<Expression>) -> bool {
        use Expression as E;
        let any =
            |parts: &[Option<Handle<Expression>>]| parts.iter().flatten().any(|part| self.varies(*part));
        match &self.function.expressions[expression] {
            E::Literal(_) | E::Constant(_) | E::ZeroValue(_) | E::GlobalVariable(_) | E::LocalVariable(_) => {
                false
            }
            E::FunctionArgument(index) => self.arguments[*index as usize],
            E::CallResult(_) => self.calls.contains(&expression),
            E::Compose { components, .. } => components.iter().any(|part| self.varies(*part)),
            E::Access { base, index } => any(&[Some(*base), Some(*index)]),
            E::AccessIndex { base, .. } => self.varies(*base),
            E::Splat { value, .. } => self.varies(*value),
            E::Swizzle { vector, .. } => self.varies(*vector),
            E::Unary { expr, .. } | E::As { expr, .. } => self.varies(*expr),
            E::Binary { left, right, .. } => any(&[Some(*left), Some(*right)]),
            E::Select { condition, accept, reject } => any(&[Some(*condition), Some(*accept), Some(*reject)]),
            E::Relational { argument, .. } => self.varies(*argument),
            E::Math { arg, arg1, arg2, arg3, .. } => any(&[Some(*arg), *arg1, *arg2, *arg3]),
            // One value for all, by its definition.
            E::WorkGroupUniformLoadResult { .. } => false,
            E::Load { pointer } => self.varies(*pointer) || self.memory_varies(*pointer),
            _ => true,
        }
    }

    fn memory_varies(&self, pointer: Handle<Expression>) -> bool {
        match &self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                self.memory_varies(*base)
            }
            Expression::LocalVariable(local) => self.locals.contains(local),
            Expression::GlobalVariable(global) => match self.module.global_variables[*global].space {
                AddressSpace::Uniform => false,
                AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
                _ => true,
            },
            _ => true,
        }
    }

    fn local_behind(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match &self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                self.local_behind(*base)
            }
            Expression::LocalVariable(local) => Some(*local),
            _ => None,
        }
    }
}
