"""MuJoCo tasks on CPU threads (``mujoco.batch``) or on CUDA (``mujoco_warp``), behind one protocol."""
