//! Launches of the kernels over images.

use potluck_graph::PoolFn;

use super::launch::{GRID_MAX, Launch, shader};
use super::launch_values::grid;
use crate::{ConvSizes, Kernel};

fn words(sizes: ConvSizes) -> Vec<u32> {
    let ConvSizes { batch, c, h, w, n, out_h, out_w, size, stride, padding, groups } = sizes;
    vec![batch, c, h, w, n, out_h, out_w, size, stride, padding, groups]
}

fn pool_code(f: PoolFn) -> u32 {
    match f {
        PoolFn::Max => 0,
        PoolFn::Average => 1,
    }
}

pub(super) fn launch(kernel: &Kernel) -> Launch {
    match *kernel {
        Kernel::Conv2d { sizes, bias, relu } => {
            let constants = [("BIAS", u32::from(bias)), ("RELU", u32::from(relu)), ("SIZE", sizes.size)];
            // One invocation computes four channels of four pixels in a row.
            let pixels = sizes.out_h * sizes.out_w.div_ceil(4);
            let group_n = (sizes.n / sizes.groups).div_ceil(4) * sizes.groups;
            let grid = [pixels.div_ceil(64).min(GRID_MAX), group_n, sizes.batch];
            Launch::new(shader!("conv2d"), 3, words(sizes), grid).with(&constants)
        }
        Kernel::Conv2dGradX { sizes } => {
            Launch::new(shader!("conv2d_grad_x"), 2, words(sizes), grid(sizes.input_len() as u32))
                .with(&[("SIZE", sizes.size)])
        }
        Kernel::Conv2dGradWeight { sizes } => {
            // One workgroup a filter tap: its lanes share the pixels of all images.
            let taps = sizes.weight_len() as u32;
            let grid = [taps.min(GRID_MAX), taps.div_ceil(GRID_MAX), 1];
            Launch::new(shader!("conv2d_grad_weight"), 2, words(sizes), grid)
        }
        Kernel::Pool2d { f, sizes } => {
            let launch = Launch::new(shader!("pool2d"), 1, words(sizes), grid(sizes.output_len() as u32));
            launch.with(&[("FUNCTION", pool_code(f))])
        }
        Kernel::Pool2dGrad { f, sizes } => {
            let launch = Launch::new(shader!("pool2d_grad"), 2, words(sizes), grid(sizes.input_len() as u32));
            launch.with(&[("FUNCTION", pool_code(f))])
        }
        _ => unreachable!("asked by its kind"),
    }
}
