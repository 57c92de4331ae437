// reduce/advance: closes an iteration in the status of a solver none of whose other kernels counts them, so that what is
// noted later is noted of the next.
//
//   status.iteration = status.iteration + 1
//
// One lane does it all. Oracle: reference::reduce::advance.
#import "shared/status.wgsl"

@group(0) @binding(0) var<storage, read_write> status: Status;

@compute @workgroup_size(1)
fn main() {
    status.iteration += 1u;
}
