# A CDFFormer of less than a million parameters, for the demo; not a
# published variant.
nano = dict(embed_dims=[24, 48, 96, 128], depths=[1, 1, 3, 1])
