//! Launches of the kernels over images.

use potluck_graph::PoolFn;

use super::launch::{GRID_MAX, Launch, shader};
use super::launch_values::grid;
use crate::{ConvSizes, Kernel, Tier};

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

pub(super) fn launch(kernel: &Kernel, tier: Tier) -> Launch {
    match (*kernel, tier) {
        (Kernel::Conv2d { sizes, bias, relu }, _) => {
            conv2d(sizes, &[("BIAS", u32::from(bias)), ("RELU", u32::from(relu)), ("TURNED", 0)])
        }
        (Kernel::Conv2dGradX { sizes }, Tier::Registers) => {
            let ConvSizes { batch, c, h, w, n, out_h, out_w, size, stride, padding, groups } = sizes;
            let turned = ConvSizes {
                batch,
                c: n,
                h: out_h,
                w: out_w,
                n: c,
                out_h: h,
                out_w: w,
                size,
                stride,
                padding: size - 1 - padding,
                groups,
            };
            conv2d(turned, &[("BIAS", 0), ("RELU", 0), ("TURNED", 1)])
        }
        (Kernel::Conv2dGradX { sizes }, _) => {
            Launch::new(shader!("conv2d_grad_x"), 2, words(sizes), grid(sizes.input_len() as u32))
                .with(&[("SIZE", sizes.size)])
        }
        (Kernel::Conv2dGradWeight { sizes }, _) => {
            // A workgroup takes a channel of x, four of dy, and 3 x 3 taps.
            let channels = (sizes.n / sizes.groups).div_ceil(4) * sizes.groups;
            let grid = [sizes.c / sizes.groups, channels, sizes.size.div_ceil(3).pow(2)];
            Launch::new(shader!("conv2d_grad_weight"), 2, words(sizes), grid).with(&[("STRIDE", sizes.stride)])
        }
        (Kernel::Pool2d { f, sizes }, _) => {
            let launch = Launch::new(shader!("pool2d"), 1, words(sizes), grid(sizes.output_len() as u32));
            launch.with(&[("FUNCTION", pool_code(f)), ("EVEN", u32::from(even(sizes)))])
        }
        (Kernel::Pool2dGrad { f, sizes, relu }, Tier::Registers) => {
            let ConvSizes { batch, c, h, w, stride, .. } = sizes;
            let cells = batch * c * h.div_ceil(stride) * w.div_ceil(stride);
            let launch = Launch::new(shader!("pool2d_grad_apart"), 2, words(sizes), grid(cells));
            launch.with(&[("FUNCTION", pool_code(f)), ("EVEN", u32::from(even(sizes))), ("RELU", u32::from(relu))])
        }
        (Kernel::Pool2dGrad { f, sizes, relu }, _) => {
            let launch = Launch::new(shader!("pool2d_grad"), 2, words(sizes), grid(sizes.input_len() as u32));
            launch.with(&[("FUNCTION", pool_code(f)), ("RELU", u32::from(relu))])
        }
        _ => unreachable!("asked by its kind"),
    }
}

/// Windows of 2 x 2 that tile their planes.
fn even(sizes: ConvSizes) -> bool {
    let ConvSizes { h, w, out_h, out_w, size, stride, padding, .. } = sizes;
    size == 2 && stride == 2 && padding == 0 && h == 2 * out_h && w == 2 * out_w
}

/// One invocation computes four channels of eight pixels in a row.
fn conv2d(sizes: ConvSizes, constants: &[(&'static str, u32)]) -> Launch {
    let pixels = sizes.out_h * sizes.out_w.div_ceil(8);
    let channels = (sizes.n / sizes.groups).div_ceil(4) * sizes.groups;
    let groups = pixels.div_ceil(64);
    let grid = [groups.min(GRID_MAX), channels, sizes.batch * groups.div_ceil(GRID_MAX)];
    let launch = Launch::new(shader!("conv2d"), 3, words(sizes), grid);
    launch.with(constants).with(&[("SIZE", sizes.size), ("STRIDE", sizes.stride)])
}
