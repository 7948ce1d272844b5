"""SS4D's training data: animated assets -> voxels, features, pictures and condition clips, in verified shards."""
