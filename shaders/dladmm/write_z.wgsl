// Stores one sample's z of the last layer; the counterpart of dladmm/classes' `read_z`, for kernels that may write to it.
#import "dladmm/classes.wgsl"

fn write_z(sample: u32, lane: u32, value: Classes) {
    var point = value;
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let quad = quad_of(k, lane);
        if quad < params.quads {
            z[sample * params.quads + quad] = point[k];
        }
    }
}
