//! The jump graph: no loops, no way too deep.

use crate::error::CompileError;
use crate::ir::{ChainId, Ir, jump_of};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

/// Return addresses that the programs can keep: jumps (not gotos) on one way from a hook.
pub(crate) const MAX_DEPTH: u32 = 16;

/// Checks the graph; the chains in an order in which each comes before those that it leads to.
pub(crate) fn check(ir: &Ir<'_>) -> Result<Vec<ChainId>, CompileError> {
    let mut graph: DiGraph<(), u32> = DiGraph::with_capacity(ir.chains.len(), ir.chains.len() * 2);
    for _ in &ir.chains {
        graph.add_node(());
    }
    for (from, chain) in ir.chains.iter().enumerate() {
        for &(rule, to) in &chain.jumps {
            graph.add_edge(NodeIndex::new(from), NodeIndex::new(to.index()), rule);
        }
    }
    let order = toposort(&graph, None).map_err(|cycle| loop_error(ir, cycle.node_id().index()))?;
    let mut depth = vec![0u32; ir.chains.len()];
    for node in &order {
        let from = node.index();
        let chain = &ir.chains[from];
        for &(rule, to) in &chain.jumps {
            let pushes = jump_of(&chain.chain.rules[rule as usize]).is_some_and(|(_, goto)| !goto);
            let deep = depth[from] + u32::from(pushes);
            if deep > MAX_DEPTH {
                return Err(CompileError::Limit {
                    place: Some(chain.place(rule as usize)),
                    what: "nested jumps",
                    max: u64::from(MAX_DEPTH),
                    got: u64::from(deep),
                });
            }
            depth[to.index()] = depth[to.index()].max(deep);
        }
    }
    Ok(order.into_iter().map(|node| ChainId(node.index() as u32)).collect())
}

/// Names a rule on the loop: one of `node`'s that leads back to it.
fn loop_error(ir: &Ir<'_>, node: usize) -> CompileError {
    let leads_back = |start: ChainId| {
        let mut seen = vec![false; ir.chains.len()];
        let mut stack = vec![start.index()];
        while let Some(at) = stack.pop() {
            if at == node {
                return true;
            }
            if !std::mem::replace(&mut seen[at], true) {
                stack.extend(ir.chains[at].jumps.iter().map(|(_, to)| to.index()));
            }
        }
        false
    };
    match ir.chains[node].jumps.iter().find(|(_, to)| leads_back(*to)) {
        Some(&(rule, _)) => {
            let place = ir.chains[node].place(rule as usize);
            CompileError::Unsupported { place, reason: "the chains form a loop".into() }
        }
        None => CompileError::Internal("a loop that no rule closes".into()),
    }
}
