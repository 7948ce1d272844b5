"""SS4D (arXiv 2512.14284): a monocular clip in, one set of 3-D Gaussians a frame out.

An independent implementation of inference in plain PyTorch, one file a network:

    structure_flow.py     stage 1: noise -> latent of the occupied voxels, 16^3 a frame
    structure_vae.py      that latent -> occupancy of a 64^3 grid a frame, and back
    latent_flow.py        stage 2: noise -> a feature vector for each occupied voxel
    gaussian_decoder.py   features -> 32 Gaussians a voxel

`sampler.py` integrates the two flows, `preprocess.py` crops the frames, `pipeline.py` runs everything in order.

Notation of all files: a "slot" is one frame of one clip. B clips of T frames make F = B T slots, clip after clip;
C channels, H heads of D = C / H channels, L tokens, N voxels in all slots.
"""
